"""What every package needs: files, locks, logging, processes."""
