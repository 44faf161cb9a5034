"""What `essa doctor` looks at. A check imports what it needs itself: any library may be missing."""
