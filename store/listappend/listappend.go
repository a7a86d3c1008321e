// Package listappend checks histories of transactions that append to lists and read them: whether they could have been carried out one
// after the other, each at an instant between its beginning and its end (strict serializability).
//
// A list tells in which order its elements were appended, so what depends on what follows from what was read, without searching for an
// order: who wrote what a transaction read (wr), who wrote behind it (ww), and who wrote what it did not see yet (rw). A cycle of
// these, or with what had ended before another began (rt), is what no order explains. That is the method of Elle (Kingsbury and
// Alvaro, "Elle: Inferring Isolation Anomalies from Experimental Observations", VLDB 2021).
//
// It promises no false alarm as long as each element is appended to a list once. It needs no clock: instants are numbers that
// whoever records the history draws in order. It finds nothing that no transaction has read, so a history should end with a read of
// all lists.
package listappend

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Transaction of a history.
type Transaction struct {
	Name string // for messages
	// Began and Ended are instants; all that a history has are different. Ended is 0 if it is not known what became of it.
	Began, Ended int64
	// Failed says that it was not carried out, and never will be.
	Failed bool
	// Appends are the elements that it appends, by list. No other transaction appends the same one to the same list.
	Appends map[string]int
	// Reads are lists as they were before its own appends.
	Reads map[string][]int
}

// Check returns nil if the transactions are strictly serializable, otherwise an error that says why not.
func Check(all []*Transaction) error {
	c := checker{all: all, writers: map[string]map[int]int{}, lists: map[string][]int{}}
	if err := c.order(); err != nil {
		return err
	}
	c.depend()
	return c.acyclic()
}

type checker struct {
	all     []*Transaction
	writers map[string]map[int]int // list, element -> transaction
	lists   map[string][]int       // the longest that was read, which has the order
	unread  map[string][]int       // who has appended to a list what nobody ever read: behind all that was read, in an order that is not known
	edges   [][]edge               // by transaction; those behind are instants
}

type edge struct {
	to   int
	kind string
	list string
}

// order finds in which order elements were appended to each list, and wants all reads to agree on it.
func (c *checker) order() error {
	for i, t := range c.all {
		for list, element := range t.Appends {
			if c.writers[list] == nil {
				c.writers[list] = map[int]int{}
			}
			if other, twice := c.writers[list][element]; twice {
				return fmt.Errorf("%s and %s both append %d to %s: the history can't be checked", c.all[other].Name, t.Name, element, list)
			}
			c.writers[list][element] = i
		}
	}
	for _, t := range c.all {
		for list, read := range t.Reads {
			if t.Failed {
				continue
			}
			if err := c.plausible(t, list, read); err != nil {
				return err
			}
			longest := c.lists[list]
			if n := min(len(longest), len(read)); !slices.Equal(longest[:n], read[:n]) {
				return fmt.Errorf("%s reads %v in %s, and another %v: neither is the beginning of the other", t.Name, read, list, longest)
			}
			if len(read) > len(longest) {
				c.lists[list] = read
			}
		}
	}
	return nil
}

// plausible wants what is read to have been appended, once, by transactions that were carried out.
func (c *checker) plausible(t *Transaction, list string, read []int) error {
	seen := map[int]bool{}
	for _, element := range read {
		by, known := c.writers[list][element]
		switch {
		case !known:
			return fmt.Errorf("%s reads %d in %s, which nobody appended", t.Name, element, list)
		case c.all[by].Failed:
			return fmt.Errorf("%s reads %d in %s, which %s appended, and that was not carried out", t.Name, element, list, c.all[by].Name)
		case c.all[by] == t:
			return fmt.Errorf("%s reads its own %d in %s before it appends it", t.Name, element, list)
		case seen[element]:
			return fmt.Errorf("%s reads %d in %s twice", t.Name, element, list)
		}
		seen[element] = true
	}
	return nil
}

// depend draws the edges.
func (c *checker) depend() {
	c.edges = make([][]edge, len(c.all))
	c.unread = map[string][]int{}
	for list, writers := range c.writers {
		read := map[int]bool{}
		for _, element := range c.lists[list] {
			read[element] = true
		}
		for element, i := range writers {
			if t := c.all[i]; !read[element] && !t.Failed && t.Ended != 0 {
				c.unread[list] = append(c.unread[list], i)
			}
		}
	}
	for list, order := range c.lists {
		if len(order) == 0 {
			continue
		}
		for i := 1; i < len(order); i++ {
			c.edge(c.writers[list][order[i-1]], c.writers[list][order[i]], "ww", list)
		}
		for _, by := range c.unread[list] {
			c.edge(c.writers[list][order[len(order)-1]], by, "ww", list)
		}
	}
	for i, t := range c.all {
		if t.Failed {
			continue
		}
		for list, read := range t.Reads {
			if len(read) > 0 {
				c.edge(c.writers[list][read[len(read)-1]], i, "wr", list)
			}
			c.unseen(i, list, len(read))
		}
	}
	c.realTime()
}

// unseen draws edges from a transaction that read the first n elements of a list to the next one that appended, from which others
// lead on.
func (c *checker) unseen(reader int, list string, n int) {
	if order := c.lists[list]; n < len(order) {
		c.edge(reader, c.writers[list][order[n]], "rw", list)
		return
	}
	for _, by := range c.unread[list] {
		c.edge(reader, by, "rw", list)
	}
}

func (c *checker) edge(from, to int, kind, list string) {
	if from != to {
		c.edges[from] = append(c.edges[from], edge{to, kind, list})
	}
}

// realTime draws edges from those that had ended to those that began afterwards, by way of a chain of the instants at which some ended.
func (c *checker) realTime() {
	var ended []int
	for i, t := range c.all {
		if t.Ended != 0 && !t.Failed {
			ended = append(ended, i)
		}
	}
	slices.SortFunc(ended, func(a, b int) int { return int(c.all[a].Ended - c.all[b].Ended) })
	first := len(c.all)
	for at, i := range ended {
		c.edges = append(c.edges, nil)
		c.edge(i, first+at, "rt", "")
		if at > 0 {
			c.edge(first+at-1, first+at, "rt", "")
		}
	}
	for i, t := range c.all {
		before, _ := slices.BinarySearchFunc(ended, t.Began, func(j int, began int64) int { return int(c.all[j].Ended - began) })
		if before > 0 && !t.Failed {
			c.edge(first+before-1, i, "rt", "")
		}
	}
}

// acyclic looks for a cycle.
func (c *checker) acyclic() error {
	const (
		fresh = iota
		open  // on the path
		done
	)
	state := make([]byte, len(c.edges))
	type visit struct{ node, next int }
	for root := range c.edges {
		if state[root] != fresh {
			continue
		}
		path := []visit{{root, 0}}
		state[root] = open
		for len(path) > 0 {
			at := &path[len(path)-1]
			if at.next == len(c.edges[at.node]) {
				state[at.node] = done
				path = path[:len(path)-1]
				continue
			}
			to := c.edges[at.node][at.next].to
			at.next++
			switch state[to] {
			case fresh:
				state[to] = open
				path = append(path, visit{to, 0})
			case open:
				var cycle []int
				for i := len(path) - 1; ; i-- {
					cycle = append(cycle, path[i].node)
					if path[i].node == to {
						break
					}
				}
				return c.explain(cycle)
			}
		}
	}
	return nil
}

// explain describes a shortest cycle through the nodes of one.
func (c *checker) explain(nodes []int) error {
	shortest := c.shortest(nodes[0])
	for _, n := range nodes[1:] {
		if found := c.shortest(n); len(found) > 0 && (len(shortest) == 0 || len(found) < len(shortest)) {
			shortest = found
		}
	}
	if len(shortest) == 0 {
		return errors.New("there is a cycle")
	}
	var said []string
	for _, s := range shortest {
		if s.from >= len(c.all) {
			continue // an instant
		}
		kind := map[string]string{"ww": "appends before", "wr": "is read by", "rw": "does not see", "rt": "had ended before"}[s.edge.kind]
		line := fmt.Sprintf("%s %s", c.all[s.from].Name, kind)
		if s.edge.list != "" {
			line += " (" + s.edge.list + ")"
		}
		said = append(said, line)
	}
	return fmt.Errorf("no order explains it: %s %s", strings.Join(said, " "), strings.SplitN(said[0], " ", 2)[0])
}

type stride struct {
	from int
	edge edge
}

// shortest is a shortest way from a node back to it, empty if there is none.
func (c *checker) shortest(start int) (way []stride) {
	came := map[int]stride{}
	queue := []int{start}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for _, e := range c.edges[at] {
			if _, seen := came[e.to]; seen {
				continue
			}
			came[e.to] = stride{at, e}
			if e.to == start {
				for n := start; ; {
					s := came[n]
					way = append(way, s)
					if n = s.from; n == start {
						slices.Reverse(way)
						return way
					}
				}
			}
			queue = append(queue, e.to)
		}
	}
	return nil
}

// Lists are the names of all lists of a history.
func Lists(all []*Transaction) []string {
	names := map[string]bool{}
	for _, t := range all {
		for list := range t.Appends {
			names[list] = true
		}
		for list := range t.Reads {
			names[list] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}
