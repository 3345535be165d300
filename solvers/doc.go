// Package solvers holds the algorithms that solve bi-level problems, one file each, named as in its paper, and Solve,
// which runs any of them. Algorithms lists them with what each needs and costs.
//
// What a problem is stands in package problem, how an algorithm is run in package engine. An algorithm is a plain
// struct whose fields are its settings: configuration files and --set decode into it, and its zero value chooses what
// it can.
package solvers
