-- Events of finished refreshes were kept in case they were lost. The ledger of messages does that now.
DROP TABLE refreshes;
