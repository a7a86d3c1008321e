// Package topology is the vocabulary: what a system is, as one file says it.
//
// A System is read from one or more YAML files with Load, which is strict: an unknown field, a wrong type, a value out
// of range or a name that points nowhere is an error with file, line and column, and all errors of a file are reported
// at once. What Load returns is complete: every default is filled in, every reference resolves, and no other package
// has to check it again.
//
// The package is pure but for reading the files it is given. It runs nothing, measures nothing and knows no other
// package of Banyan; every other package may import it.
//
// The Go types below are the only definition of the file: their field tags name the keys, their doc comments are what
// 'banyan explain' prints and what the JSON Schema carries as descriptions.
package topology
