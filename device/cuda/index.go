package cuda

import (
	"cmp"
	"encoding/binary"
	"fmt"

	"bilevel/device"
	"bilevel/device/cuda/driver"
)

// A kernel that looks up indices, or a k, has a fault word on the card: all ones while every index was good, else the
// first bad one in its low half and its position in the high one (kernels/gather.cu). A runner has one for each such
// instruction; the device reads those of the runners that ran whenever it waits for the card anyway.

const (
	faultBytes = 8
	noFault    = ^uint64(0)
)

// faults are the fault words of a runner.
type faults struct {
	at    driver.Ptr
	host  []byte // pinned, as large
	codes []int  // the instruction of each word
}

// takeFaults makes the words.
func (d *Device) takeFaults(f *faults) (err error) {
	if f.at, err = d.memory.take(int64(f.bytes())); err != nil {
		return err
	}
	if f.host, err = d.ctx.Pinned(f.bytes()); err != nil {
		return err
	}
	return d.reset(f)
}

func (f *faults) bytes() int { return faultBytes * len(f.codes) }

// reset sets all words to noFault.
func (d *Device) reset(f *faults) error {
	return d.stream.Fill(f.at, uint32(noFault&(1<<32-1)), int64(f.bytes()/wordBytes))
}

// checkIndices waits for the card and reports the first bad index of the programs that ran since it was last asked.
func (d *Device) checkIndices() error {
	watched := d.watch
	d.watch = nil
	for _, r := range watched {
		if err := d.stream.ToHost(r.faults.host, r.faults.at); err != nil {
			return d.failed(err)
		}
	}
	if err := d.failed(d.stream.Synchronize()); err != nil {
		return err
	}
	var bad error
	for _, r := range watched {
		found := false
		for k, code := range r.faults.codes {
			if word := binary.LittleEndian.Uint64(r.faults.host[k*faultBytes:]); word != noFault {
				found = true
				bad = cmp.Or(bad, r.badIndex(code, int(word>>32), int32(word)))
			}
		}
		if found {
			if err := d.reset(&r.faults); err != nil {
				return d.failed(err)
			}
		}
	}
	return bad
}

func (r *runner) badIndex(code, position int, index int32) error {
	in := &r.program.Code[code]
	what := fmt.Sprintf("%s: element %d is %d, the table has %d rows", in.Op, position, index, in.In[0].Shape[0])
	if in.Op == device.Order {
		what = fmt.Sprintf("%s: k is %d, there are %d elements", in.Op, index, elements(in))
	}
	return fmt.Errorf(
		"%s: program %q, instruction %d: %w (%s)", r.device.name, r.program.Name, code, device.ErrIndex, what,
	)
}
