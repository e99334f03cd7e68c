"""Files that must outlast a power cut: whoever keeps something on disk beside the database writes it through here."""
