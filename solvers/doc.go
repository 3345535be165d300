// Package solvers holds the algorithms that solve bi-level problems, one file each, named as in its paper, and Solve,
// which runs any of them. Algorithms lists them with what each needs and costs.
//
// Package problem says what a problem is, and package engine runs an algorithm. An algorithm is a plain
// struct whose fields are its settings: configuration files and --set decode into it, and its zero value chooses what
// it can.
package solvers
