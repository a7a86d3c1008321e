package topology

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxProblems is how many problems are listed; further ones are counted.
const maxProblems = 100

// Problem is one thing that is wrong with a file.
type Problem struct {
	// File as it was named, empty where the problem lies in none.
	File string `json:"file,omitempty"`
	// Line and Column of what is wrong, from 1; 0 where the file as a whole is.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Path of the field, for example services.web.replicas.max or routes[0].to.
	Path string `json:"path,omitempty"`
	// Found is what stands there, quoted and cut where it is long.
	Found string `json:"found,omitempty"`
	// Message says what is wrong; empty where found and expected say it all.
	Message string `json:"message,omitempty"`
	// Expected says what should stand there.
	Expected string `json:"expected,omitempty"`
	// Hint says what to do, or what was perhaps meant.
	Hint string `json:"hint,omitempty"`

	order int // of the file among the sources
}

// String returns the problem in one line: banyan.yaml:12:5: services.web.replicas: found "many", expected a number.
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File + ":")
		if p.Line > 0 {
			fmt.Fprintf(&b, "%d:%d:", p.Line, p.Column)
		}
		b.WriteString(" ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	var parts []string
	if p.Found != "" {
		parts = append(parts, "found "+p.Found)
	}
	if p.Message != "" {
		parts = append(parts, p.Message)
	}
	if p.Expected != "" {
		parts = append(parts, "expected "+p.Expected)
	}
	b.WriteString(strings.Join(parts, ", "))
	if p.Hint != "" {
		b.WriteString("; " + p.Hint)
	}
	return b.String()
}

// Errors are the problems of one or more files, in the order of their positions.
type Errors []Problem

// Error returns one line for each problem.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// problems collects what is wrong.
type problems struct {
	list []Problem
	seen map[place]bool
	more int

	hints int // looked for so far
}

// maxHints bounds the search for names that were perhaps meant: each compares with every candidate.
const maxHints = 2 * maxProblems

// didYouMean is the hint for a name that is not among the candidates.
func (ps *problems) didYouMean(name string, candidates func() []string) string {
	if ps.hints++; ps.hints > maxHints {
		return ""
	}
	if near := nearest(name, candidates()); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return ""
}

type place struct {
	order, line, column int
	said                string
}

// add notes a problem. The same words at the same place are said once: a part of a file can be read more than once,
// through an alias or because a route takes it over from its service.
func (ps *problems) add(p Problem) {
	key := place{p.order, p.Line, p.Column, p.Message + "\x00" + p.Expected}
	if p.Line == 0 {
		key.said += "\x00" + p.Path
	}
	if ps.seen[key] {
		return
	}
	if ps.seen == nil {
		ps.seen = map[place]bool{}
	}
	// Far more than is shown is kept, so that what is shown is the first by position.
	if len(ps.list) >= 100*maxProblems {
		ps.more++
		return
	}
	ps.seen[key] = true
	ps.list = append(ps.list, p)
}

// err returns the problems sorted, nil if there are none.
func (ps *problems) err() error {
	if len(ps.list) == 0 {
		return nil
	}
	slices.SortStableFunc(ps.list, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	list, more := ps.list, ps.more
	if len(list) > maxProblems {
		more += len(list) - maxProblems
		list = list[:maxProblems]
	}
	list = slices.Clip(list)
	if more > 0 {
		list = append(list, Problem{Message: fmt.Sprintf("and %d more problems", more)})
	}
	return Errors(list)
}
