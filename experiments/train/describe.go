package train

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"bilevel/data"
	"bilevel/models"

	"github.com/dustin/go-humanize"
)

// Description is what a model has and costs, layer by layer.
type Description struct {
	Model        string             `json:"model"`
	Input        []int              `json:"input"`
	Classes      int                `json:"classes"`
	Parameters   int                `json:"parameters"`
	State        int                `json:"state"`         // numbers of running statistics
	MultiplyAdds int                `json:"multiply_adds"` // of a forward pass over one row
	Activations  int                `json:"activations"`   // numbers that the layers make of one row
	Batch        int                `json:"batch"`
	Bytes        int64              `json:"activation_bytes"` // of a batch, in float32
	Layers       []models.LayerCost `json:"layers"`
}

// Describe describes the model of a name, for rows of a shape.
func Describe(name string, batchNorm bool, shape []int, classes, batch int) (d Description, err error) {
	m, err := Architecture(name, batchNorm, "", InputsOf(&data.Dataset{Name: "the data", Shape: shape}), classes)
	if err != nil {
		return d, err
	}
	d = Description{Model: name, Input: shape, Classes: classes, Parameters: m.Params().Size(), State: m.State().Size(),
		Batch: batch}
	costs, ok := m.(interface{ Costs() []models.LayerCost })
	if !ok {
		return d, fmt.Errorf("the model %s does not say what its layers cost", name)
	}
	d.Layers = costs.Costs()
	for _, l := range d.Layers {
		d.MultiplyAdds += l.MultiplyAdds
		d.Activations += l.Activations
	}
	const real = 4
	d.Bytes = int64(d.Activations) * int64(batch) * real
	return d, nil
}

// Write prints a table of the layers, and what they come to.
func (d Description) Write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "layer\tkind\toutput\tparameters\tmultiply-adds\tactivations\t")
	row := func(l models.LayerCost) {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t\n", l.Name, l.Kind, shapeText(l.Output), count(l.Parameters),
			count(l.MultiplyAdds), count(l.Activations))
	}
	for _, l := range d.Layers {
		row(l)
	}
	fmt.Fprintf(t, "all\t\t\t%s\t%s\t%s\t\n", count(d.Parameters), count(d.MultiplyAdds), count(d.Activations))
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s for %s in %d classes: %s parameters, %s running statistics; one row takes %s "+
		"multiply-adds, and the outputs of all layers for %d rows %s\n", d.Model, shapeText(d.Input), d.Classes,
		humanize.Comma(int64(d.Parameters)), humanize.Comma(int64(d.State)), humanize.Comma(int64(d.MultiplyAdds)),
		d.Batch, humanize.Bytes(uint64(d.Bytes)))
	return err
}

// WriteJSON writes one object.
func (d Description) WriteJSON(w io.Writer) error { return json.NewEncoder(w).Encode(d) }

func count(n int) string {
	if n == 0 {
		return ""
	}
	return humanize.Comma(int64(n))
}

// shapeText writes 32×32×3.
func shapeText(shape []int) string {
	var text []string
	for _, d := range shape {
		text = append(text, strconv.Itoa(d))
	}
	return strings.Join(text, "×")
}
