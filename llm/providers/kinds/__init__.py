"""What each kind of provider is: one module or folder for each."""
