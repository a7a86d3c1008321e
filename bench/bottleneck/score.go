package main

import (
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/banyanhq/banyan/plan"
)

// score counts first answers.
type score struct {
	verbose      bool
	right, total int
	places       int // right about the class, wrong about the place
	second       int // right at the second place
	matrix       map[plan.Class]map[plan.Class]int
	misses       []string
}

func newScore(verbose bool) *score {
	return &score{verbose: verbose, matrix: map[plan.Class]map[plan.Class]int{}}
}

// none is the class of no finding.
const none = plan.Class("none")

// judge counts the first answer to a run, and returns it where it is right about a fault.
func (s *score) judge(r *record) (right *plan.Finding, err error) {
	found, err := plan.Bottlenecks(r.Observation)
	if err != nil {
		return nil, err
	}
	said, where := none, ""
	if len(found) > 0 {
		said, where = found[0].Class, found[0].Service
	}
	class := r.Fault.Class
	if class == "" {
		class = none
	}
	s.total++
	if s.matrix[class] == nil {
		s.matrix[class] = map[plan.Class]int{}
	}
	s.matrix[class][said]++
	ok := said == class && where == r.Fault.Service
	if ok {
		s.right++
	} else {
		if said == class {
			s.places++
		}
		if len(found) > 1 && found[1].Class == class && found[1].Service == r.Fault.Service {
			s.second++
		}
		s.misses = append(s.misses, fmt.Sprintf("%s: said %s at %s", r.Fault, said, where))
	}
	fmt.Printf("%-5t %s: said %s %s\n", ok, r.Fault, said, where)
	if s.verbose && !ok {
		for _, f := range found {
			fmt.Printf("      %s at %s %.2f: %s\n", f.Class, f.Service, f.Score, strings.Join(f.Evidence, "; "))
		}
	}
	if !ok || class == none {
		return nil, nil
	}
	return &found[0], nil
}

func (s *score) share() float64 { return float64(s.right) / float64(max(s.total, 1)) }

func (s *score) print() {
	fmt.Println("\nRows: what was wrong. Columns: the class of the first answer.")
	columns := append(append([]plan.Class{}, classes...), plan.ClassQueue, none)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "\t")
	for _, c := range columns {
		fmt.Fprintf(w, "%s\t", c)
	}
	fmt.Fprintln(w)
	for _, row := range columns {
		if s.matrix[row] == nil {
			continue
		}
		fmt.Fprintf(w, "%s\t", row)
		for _, c := range columns {
			fmt.Fprintf(w, "%d\t", s.matrix[row][c])
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	fmt.Printf("\nTop-1 (class and place): %d of %d, %.1f %%. Right class at a wrong place: %d; right at the second place: %d.\n",
		s.right, s.total, 100*s.share(), s.places, s.second)
	for _, m := range s.misses {
		fmt.Println("missed:", m)
	}
}
