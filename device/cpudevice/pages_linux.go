package cpudevice

import (
	"syscall"
	"unsafe"
)

// hugePage is what one entry of the processor's address cache covers in a large page: with the usual 4 KiB a product of
// 2048³ meets a new page with each row.
const hugePage = 2 << 20

// pages are so many bytes of zeros from the system, which begin on a page, and the mapping that they lie in; nil where
// it gives none. Those that fill large pages begin on one, and the system is asked for them.
func pages(bytes int) (used, mapping []byte) {
	lead := 0
	if bytes >= hugePage {
		lead = hugePage
	}
	mapping, err := syscall.Mmap(
		-1, 0, bytes+lead, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE,
	)
	if err != nil {
		return nil, nil
	}
	if lead == 0 {
		return mapping, mapping
	}
	begin := -int(uintptr(unsafe.Pointer(unsafe.SliceData(mapping)))) & (hugePage - 1)
	used = mapping[begin:][:bytes]
	_ = syscall.Madvise(used[:bytes/hugePage*hugePage], syscall.MADV_HUGEPAGE) // it may have none
	return used, mapping
}

// giveBack returns a mapping to the system. Only memory that pages did not give can be refused.
func giveBack(mapping []byte) { _ = syscall.Munmap(mapping) }
