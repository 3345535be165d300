//go:build !slowrename

package atomicfile

// pause is called when a file is written and not yet renamed. It does nothing but in builds with the tag slowrename.
func pause(string) {}
