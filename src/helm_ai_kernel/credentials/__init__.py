"""Where secret keys are: files of this machine, files of people behind a passphrase, the ssh-agent. What leaves is a `Signer`."""
