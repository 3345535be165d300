package cpudevice

import "syscall"

// pages are so many bytes of zeros from the system, which begin on a page; nil where it gives none.
func pages(bytes int) []byte {
	p, err := syscall.Mmap(-1, 0, bytes, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return nil
	}
	return p
}

// giveBack returns pages to the system. Only memory that pages did not give can be refused.
func giveBack(p []byte) { _ = syscall.Munmap(p) }
