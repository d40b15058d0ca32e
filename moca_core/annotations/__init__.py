"""What people say of a clip: corrected frames, their history, and the project that keeps them."""
