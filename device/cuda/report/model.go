package report

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"bilevel/device/cuda/driver"
	"bilevel/internal/ptx"
)

// Model holds the peaks that times are compared with.
type Model struct {
	Like    string   `json:"like"` // the known card whose limits and figures it starts from
	FP32    float64  `json:"fp32_flop_per_second"`
	TF32    float64  `json:"tf32_flop_per_second"`
	DRAM    float64  `json:"memory_bytes_per_second"`
	Source  string   `json:"source"`
	Assumed []string `json:"assumed"`

	card ptx.Card
}

// ModelOf is the model of a card: the known card that its name tells, else one of its compute capability, with the
// peaks scaled to the multiprocessors and the clock that the driver reports, and the bandwidth of its memory clock and
// bus (two transfers a clock) where it reports them. Without either it is nil.
func ModelOf(c driver.Card) *Model {
	cards := ptx.Cards()
	at := slices.IndexFunc(cards, func(known ptx.Card) bool { return says(c.Name, known.Name) })
	if at < 0 {
		at = slices.IndexFunc(
			cards, func(known ptx.Card) bool { return known.Capability == 10*c.Capability[0]+c.Capability[1] },
		)
	}
	if at < 0 {
		return nil
	}
	k := cards[at]
	m := &Model{Like: k.Name, Source: k.Source, Assumed: slices.Clone(k.Assumed)}
	if speed := float64(c.Processors) * float64(c.ClockKHz) * 1e3 / (float64(k.SMs) * k.ClockHz); speed > 0 {
		if speed != 1 {
			m.Assumed = append(
				m.Assumed,
				fmt.Sprintf("peaks of the processors (those of the %s times %.3f, for %d multiprocessors at %d MHz)",
					k.Name, speed, c.Processors, c.ClockKHz/1000),
			)
		}
		k.SMs, k.ClockHz = c.Processors, float64(c.ClockKHz)*1e3
		for _, peak := range []*float64{&k.FP32, &k.FP64, &k.Half, &k.TF32, &k.FP16} {
			*peak *= speed
		}
	}
	if dram := 2 * float64(c.MemoryClockKHz) * 1e3 * float64(c.BusBits) / 8; dram > 0 {
		k.AssumedL2 *= dram / k.DRAM
		k.DRAM = dram
		m.Assumed = append(m.Assumed, "bandwidth of memory (twice its clock times the bus, as the driver reports them)")
	}
	k.MemoryBytes = c.Memory
	m.FP32, m.TF32, m.DRAM, m.card = k.FP32, k.TF32, k.DRAM, k
	return m
}

// says tells whether the words of a card's name, or two of them in a row, are a known card: "NVIDIA GeForce RTX 4090"
// is an RTX4090, and "GH200" no H200.
func says(name, known string) bool {
	words := strings.FieldsFunc(name, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	for i := range words {
		for n := 1; n <= 2 && i+n <= len(words); n++ {
			if strings.EqualFold(strings.Join(words[i:i+n], ""), known) {
				return true
			}
		}
	}
	return false
}

// least is the shortest time of so much work by the peaks, and which of them sets it.
func (m *Model) least(w *work, tensor bool) (seconds float64, bound string) {
	seconds, bound = w.bytes/m.DRAM, "memory"
	peak, name := m.FP32, "fp32"
	if tensor {
		peak, name = m.TF32, "tf32"
	}
	if t := w.flop / peak; t > seconds {
		seconds, bound = t, name
	}
	return seconds, bound
}
