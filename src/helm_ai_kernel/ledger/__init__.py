"""The signed receipt store: one writer per log that decides, signs and appends in one transaction."""
