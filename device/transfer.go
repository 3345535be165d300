package device

import "fmt"

// CheckUpload says why h cannot be written to b from element off on; nil if it can. Each device calls it in Upload.
func CheckUpload(b Buffer, off int, h HostSlice) error {
	if err := checkTransfer(b, off, h); err != nil {
		return fmt.Errorf("device: upload: %w", err)
	}
	return nil
}

// CheckDownload says why h cannot be filled from element off of b on; nil if it can. Each device calls it in Download.
func CheckDownload(h HostSlice, b Buffer, off int) error {
	if err := checkTransfer(b, off, h); err != nil {
		return fmt.Errorf("device: download: %w", err)
	}
	return nil
}

// CheckCopy says why n elements cannot be copied between two buffers; nil if they can. Each device calls it in Copy.
func CheckCopy(dst Buffer, dstOff int, src Buffer, srcOff, n int) error {
	switch {
	case dst.Type() != src.Type():
		return fmt.Errorf("device: copy: from %s to %s", src.Type(), dst.Type())
	case n < 0 || !holds(dst, dstOff, n) || !holds(src, srcOff, n):
		return fmt.Errorf(
			"device: copy: %d elements from %d of %d to %d of %d", n, srcOff, src.Len(), dstOff, dst.Len(),
		)
	case dst == src && dstOff < srcOff+n && srcOff < dstOff+n && n > 0:
		return fmt.Errorf("device: copy: %d elements from %d to %d of one buffer overlap", n, srcOff, dstOff)
	}
	return nil
}

func checkTransfer(b Buffer, off int, h HostSlice) error {
	set := 0
	for _, on := range [4]bool{h.F32 != nil, h.F64 != nil, h.I32 != nil, h.U8 != nil} {
		if on {
			set++
		}
	}
	switch {
	case set > 1:
		return fmt.Errorf("host memory of %d types at once", set)
	case set == 1 && h.Type() != b.Type():
		return fmt.Errorf("%s host memory and a %s buffer", h.Type(), b.Type())
	case !holds(b, off, h.Len()):
		return fmt.Errorf("%d elements from %d on of a buffer of %d", h.Len(), off, b.Len())
	}
	return nil
}

// holds says whether elements off … off+n-1 lie in b; n is not negative.
func holds(b Buffer, off, n int) bool { return off >= 0 && off <= b.Len() && n <= b.Len()-off }
