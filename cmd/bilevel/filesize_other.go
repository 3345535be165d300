//go:build !unix

package main

func limitsAreErrors() {}
