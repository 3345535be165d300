//go:build !cuda

package main

const (
	hasCUDA      = false
	wayToTheCard = ""
)
