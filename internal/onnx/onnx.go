// Package onnx writes neural networks as ONNX files (onnx/onnx.proto of the ONNX project, IR version 8, opset 13),
// which onnxruntime and many other programs run. It knows what networks of this module are made of: float32 arrays,
// nodes with numbers as attributes, one axis of any length for the rows of a batch.
package onnx

import (
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// Graph is a network: nodes in an order in which each finds its inputs computed.
type Graph struct {
	Name          string
	Producer      string
	Input, Output Value
	Arrays        []Array // trained numbers
	Nodes         []Node
}

// Value is an array [rows, Width] of float32 with any number of rows.
type Value struct {
	Name  string
	Width int
}

// Array is named numbers in row-major order.
type Array struct {
	Name   string
	Shape  []int
	Values []float32
}

// Node is an operator of ONNX with the names of what it reads and computes.
type Node struct {
	Op      string
	In, Out []string
	Ints    map[string]int
	Floats  map[string]float32
}

// Numbers of fields and enumerations in onnx.proto.
const (
	irVersion, opset = 8, 13

	modelIR, modelProducer, modelGraph, modelOpset             = 1, 2, 7, 8
	opsetVersion                                               = 2
	graphNode, graphName, graphArray, graphInput, graphOutput  = 1, 2, 5, 11, 12
	nodeInput, nodeOutput, nodeOp, nodeAttribute               = 1, 2, 4, 5
	attributeName, attributeFloat, attributeInt, attributeType = 1, 2, 3, 20
	attributeIsFloat, attributeIsInt                           = 1, 2
	tensorDims, tensorType, tensorName, tensorRaw              = 1, 2, 8, 9
	isFloat                                                    = 1
	valueName, valueType                                       = 1, 2
	typeTensor, tensorElement, tensorShape, shapeDim           = 1, 1, 2, 1
	dimValue, dimParam                                         = 1, 2
)

// message is a protocol buffer message as it is written.
type message []byte

func (m *message) number(field protowire.Number, v int) {
	*m = protowire.AppendVarint(protowire.AppendTag(*m, field, protowire.VarintType), uint64(v))
}

func (m *message) float(field protowire.Number, v float32) {
	*m = protowire.AppendFixed32(protowire.AppendTag(*m, field, protowire.Fixed32Type), math.Float32bits(v))
}

func (m *message) bytes(field protowire.Number, v []byte) {
	*m = protowire.AppendBytes(protowire.AppendTag(*m, field, protowire.BytesType), v)
}

func (m *message) text(field protowire.Number, v string) { m.bytes(field, []byte(v)) }

// check refuses graphs whose nodes read what is not there.
func (g Graph) check() error {
	there := map[string]bool{g.Input.Name: true}
	for _, a := range g.Arrays {
		size := 1
		for _, d := range a.Shape {
			size *= d
		}
		if there[a.Name] || size != len(a.Values) {
			return fmt.Errorf("onnx: the array %q of shape %v has %d numbers, or its name comes twice", a.Name, a.Shape,
				len(a.Values))
		}
		there[a.Name] = true
	}
	for _, n := range g.Nodes {
		for _, in := range n.In {
			if !there[in] {
				return fmt.Errorf("onnx: a node %s reads %q, which is not computed before it", n.Op, in)
			}
		}
		for _, out := range n.Out {
			there[out] = true
		}
	}
	if !there[g.Output.Name] {
		return fmt.Errorf("onnx: nothing computes the output %q", g.Output.Name)
	}
	return nil
}

// Write writes the graph as a file.
func Write(w io.Writer, g Graph) error {
	if err := g.check(); err != nil {
		return err
	}
	var set, model message
	set.number(opsetVersion, opset)
	model.number(modelIR, irVersion)
	model.text(modelProducer, g.Producer)
	model.bytes(modelGraph, g.encode())
	model.bytes(modelOpset, set)
	_, err := w.Write(model)
	return err
}

func (g Graph) encode() (m message) {
	for _, n := range g.Nodes {
		m.bytes(graphNode, n.encode())
	}
	m.text(graphName, g.Name)
	for _, a := range g.Arrays {
		m.bytes(graphArray, a.encode())
	}
	m.bytes(graphInput, g.Input.encode())
	m.bytes(graphOutput, g.Output.encode())
	return m
}

func (n Node) encode() (m message) {
	for _, in := range n.In {
		m.text(nodeInput, in)
	}
	for _, out := range n.Out {
		m.text(nodeOutput, out)
	}
	m.text(nodeOp, n.Op)
	for _, name := range slices.Sorted(maps.Keys(n.Ints)) {
		var a message
		a.text(attributeName, name)
		a.number(attributeInt, n.Ints[name])
		a.number(attributeType, attributeIsInt)
		m.bytes(nodeAttribute, a)
	}
	for _, name := range slices.Sorted(maps.Keys(n.Floats)) {
		var a message
		a.text(attributeName, name)
		a.float(attributeFloat, n.Floats[name])
		a.number(attributeType, attributeIsFloat)
		m.bytes(nodeAttribute, a)
	}
	return m
}

func (a Array) encode() (m message) {
	for _, d := range a.Shape {
		m.number(tensorDims, d)
	}
	m.number(tensorType, isFloat)
	m.text(tensorName, a.Name)
	raw := make([]byte, 0, 4*len(a.Values))
	for _, v := range a.Values {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	m.bytes(tensorRaw, raw)
	return m
}

func (v Value) encode() (m message) {
	var rows, width, shape, array, kind message
	rows.text(dimParam, "rows")
	width.number(dimValue, v.Width)
	shape.bytes(shapeDim, rows)
	shape.bytes(shapeDim, width)
	array.number(tensorElement, isFloat)
	array.bytes(tensorShape, shape)
	kind.bytes(typeTensor, array)
	m.text(valueName, v.Name)
	m.bytes(valueType, kind)
	return m
}
