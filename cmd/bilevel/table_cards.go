package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"bilevel/device/null"
	"bilevel/experiments/table"
	"bilevel/internal/ptx"
)

// countedNeeds are, for each row, what a cell has to do on the device, as a text the row's varied settings where
// nothing is known of that.
func countedNeeds(t *table.Table, needs []rehearsal) []table.Need {
	list := make([]table.Need, len(needs))
	for i, need := range needs {
		list[i] = table.Need{Work: fmt.Sprint(need.Work), FLOP: need.Work.FLOP, Peak: int64(need.PeakBytes)}
		if need.Work.Instructions == 0 {
			list[i].Work = fmt.Sprintf("%q", t.Rows[i].Varied)
		}
	}
	return list
}

// cardsText explains the figures of writeCards.
const cardsText = `
hours a cell by the data sheets of cards: the operations of products and convolutions at the float32 peak, then all
reads and writes at the peak of the memory, then %.2g µs for each instruction. Nobody measured them, a card is slower
than its peaks, and where a cell has operations that cards lack yet (bilevel doctor tells) they say what it would take
if they had them. Attacks are counted with the images that withstand them on a device that computes nothing
`

// writeCards prints what a cell of each row would take on the cards that the program knows.
func writeCards(to io.Writer, t *table.Table, needs []rehearsal) error {
	cards := ptx.Cards()
	fmt.Fprintf(to, cardsText, 1e6*cards[0].Times.Node)
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "row\tTFLOP a cell")
	for _, c := range cards {
		fmt.Fprintf(w, "\t%s", c.Name)
	}
	fmt.Fprintln(w)
	for i, need := range needs {
		fmt.Fprintf(w, "%s\t%.3g", t.Name(i), need.Work.FLOP/1e12)
		for _, c := range cards {
			fmt.Fprintf(w, "\t%.2g", cardSeconds(c, need.Work)/3600)
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

// cardSeconds is the time of work on a card whose peaks are reached one after the other.
func cardSeconds(c ptx.Card, w null.Work) float64 {
	return w.FLOP/c.FP32 + w.Bytes/c.DRAM + w.Instructions*c.Times.Node
}
