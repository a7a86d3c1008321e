package listappend

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

// parse reads a history: a line for each transaction, of its name, the instants at which it began and ended, and what it did: x+1
// appends 1 to x, x=1,2 read that there. A transaction that ends at "?" has an unknown outcome, at "!" it failed.
func parse(t *testing.T, text string) (all []*Transaction) {
	t.Helper()
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		words := strings.Fields(line)
		tx := &Transaction{Name: words[0], Appends: map[string]int{}, Reads: map[string][]int{}}
		tx.Began, _ = strconv.ParseInt(words[1], 10, 64)
		switch words[2] {
		case "!":
			tx.Failed = true
		case "?":
		default:
			tx.Ended, _ = strconv.ParseInt(words[2], 10, 64)
		}
		for _, w := range words[3:] {
			if list, element, ok := strings.Cut(w, "+"); ok {
				tx.Appends[list], _ = strconv.Atoi(element)
				continue
			}
			list, read, ok := strings.Cut(w, "=")
			if !ok {
				t.Fatalf("%q: expected x+1 or x=1,2", w)
			}
			tx.Reads[list] = nil
			for _, e := range strings.FieldsFunc(read, func(r rune) bool { return r == ',' }) {
				n, _ := strconv.Atoi(e)
				tx.Reads[list] = append(tx.Reads[list], n)
			}
		}
		all = append(all, tx)
	}
	return all
}

func TestAnomalies(t *testing.T) {
	for _, c := range []struct{ name, history, want string }{
		{"nothing is wrong", "a 1 4 x+1 y+1\nb 2 6 x+2\nc 3 5 x=1 y=1\nd 7 8 x=1,2 y=1", ""},
		{"an unknown outcome that happened", "a 1 ? x+1\nb 2 3 x=\nc 4 5 x=1", ""},
		{"an unknown outcome that did not", "a 1 ? x+1\nb 2 3 x=\nc 4 5 x=", ""},
		{"a failed one is read", "a 1 ! x+1\nb 2 3 x=1", "was not carried out"},
		{"nobody's element", "b 2 3 x=1", "nobody appended"},
		{"an element twice", "a 1 2 x+1\nb 3 4 x=1,1", "twice"},
		{"reads that do not agree", "a 1 9 x+1\nb 2 8 x+2\nc 3 7 x=1,2\nd 4 6 x=2,1", "neither is the beginning"},
		{"a lost update", "a 1 9 x+1 x=\nb 2 8 x+2 x=\nc 10 11 x=1,2", "no order explains it"},
		{"dirty write (G0)", "a 1 9 x+1 y+1\nb 2 8 x+2 y+2\nc 10 11 x=1,2 y=2,1", "no order explains it"},
		{"circular reads (G1c)", "a 1 9 x+1 y=2\nb 2 8 y+2 x=1", "no order explains it"},
		{"a torn read (G-single)", "a 1 9 x+1 y+1\nb 2 8 x=1 y=\nc 10 11 y=1", "no order explains it"},
		{"write skew (G2)", "a 1 9 x+1 x= y=\nb 2 8 y+2 x= y=\nc 10 11 x=1 y=2", "no order explains it"},
		{"a stale read", "a 1 2 x+1\nb 3 4 x=\nc 5 6 x=1", "does not see (x)"},
		{"an acknowledged append is lost", "a 1 2 x+1\nb 3 4 x=", "does not see (x)"},
		{"two readers see two writes in different orders", "a 1 20 x+1\nb 2 19 y+1\nc 3 18 x=1 y=\nd 4 17 x= y=1\ne 21 22 x=1 y=1", "no order explains it"},
	} {
		err := Check(parse(t, c.history))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

// Histories that were carried out one after the other are right, and no longer so once an element is taken from the end of what one
// of them read.
func TestRandomHistories(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		lists := map[string][]int{}
		var all []*Transaction
		at := int64(0)
		for i := range 60 {
			at += 2
			tx := &Transaction{Name: fmt.Sprint("t", i), Began: at, Ended: at + 1, Appends: map[string]int{}, Reads: map[string][]int{}}
			if back := random.Int64N(40); random.IntN(2) == 0 { // it took long
				tx.Began = max(1, at-2*back)
			}
			for range 1 + random.IntN(3) {
				list := string(rune('a' + random.IntN(4)))
				if tx.Reads[list] == nil {
					tx.Reads[list] = append([]int{}, lists[list]...)
				}
				if _, did := tx.Appends[list]; !did && random.IntN(2) == 0 {
					tx.Appends[list] = i
				}
			}
			for list := range tx.Appends {
				lists[list] = append(lists[list], i)
			}
			all = append(all, tx)
		}
		if err := Check(all); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		victim := all[random.IntN(len(all))]
		for list, read := range victim.Reads {
			if len(read) > 0 {
				victim.Reads[list] = read[:len(read)-1]
				if err := Check(all); err == nil && victim.Began == victim.Ended-1 {
					t.Errorf("seed %d: %s does not see what had ended before it began, and nothing is found", seed, victim.Name)
				}
				break
			}
		}
	}
}

func TestLists(t *testing.T) {
	if got := fmt.Sprint(Lists(parse(t, "a 1 2 x+1\nb 3 4 y="))); got != "[x y]" {
		t.Error(got)
	}
}
