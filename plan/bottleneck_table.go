package plan

import (
	"fmt"
	"slices"
)

// ObservedTable is what was asked of an embedded table. Times are sums over all operations, in seconds, as the table saw them.
type ObservedTable struct {
	// Table as in 'uses', and the services that use it.
	Table     string   `json:"table"`
	Users     []string `json:"users"`
	Reads     float64  `json:"reads"`
	Writes    float64  `json:"writes"`
	ReadTime  float64  `json:"read_time"`
	WriteTime float64  `json:"write_time"`
	// Forces of the log that all embedded tables share, and the time that they took.
	Forces    float64 `json:"forces"`
	ForceTime float64 `json:"force_time"`
	// HotKey is the partition key that is asked for most of late, with its share of the operations; empty: not known.
	HotKey   string  `json:"hot_key,omitempty"`
	HotShare float64 `json:"hot_share,omitempty"`
}

// leastTableTime is how long an operation takes at least, in seconds, that is worth a word.
const leastTableTime = 0.001

// findings are what operations on a table suffer from. whole is the time of all requests.
func (t *ObservedTable) findings(whole float64) (found []Finding) {
	operations, time := t.Reads+t.Writes, t.ReadTime+t.WriteTime
	if operations < leastCalls || time < leastShare*whole || time < leastTableTime*operations {
		return nil
	}
	add := func(class Class, lost, gain float64, f Finding) {
		f.Class, f.Service, f.Score, f.Gain = class, t.Table, calmWeight*lost/whole, seconds(gain)
		found = append(found, f)
	}
	if t.HotShare >= HotShare {
		lost := t.HotShare * time
		add(ClassHot, lost, lost, Finding{
			Evidence: []string{
				fmt.Sprintf("%.0f%% of the operations on %s are on the partition key %q", 100*t.HotShare, t.Table, t.HotKey),
				fmt.Sprintf("a read takes %.2fms and a write %.2fms; reads of a key wait for writes to it that are not on disk yet", millisEach(t.ReadTime, t.Reads), millisEach(t.WriteTime, t.Writes)),
			},
			Remedy: "spread what is asked for over more partition keys, or answer it from a cache: more shards and nodes do not help one key",
			By:     "the operations on that key removed",
		})
	}
	if t.Forces == 0 || t.Writes == 0 {
		return found
	}
	// Nobody waits for more than what is left of one force, and another.
	force := t.ForceTime / t.Forces
	lost := min(t.WriteTime, 2*force*t.Writes)
	add(ClassLog, lost, lost/2, Finding{
		Evidence: []string{
			fmt.Sprintf("a write takes %.2fms, of which forcing the log to the disk is %.2fms or, behind another one, up to twice as much", millisEach(t.WriteTime, t.Writes), 1e3*force),
			fmt.Sprintf("%.1f writes share a force", t.Writes/t.Forces),
		},
		Remedy: "write less often for each request (a batch is one write), or use a faster disk", By: "a disk that is twice as fast",
	})
	return found
}

// millisEach is the mean of n times in milliseconds; 0 of none.
func millisEach(sum, n float64) float64 {
	if n == 0 {
		return 0
	}
	return 1e3 * sum / n
}

// reachesTable names the edges into a table, and the routes whose requests get there by its users.
func (o *Observation) reachesTable(table string) (edges, routes []string) {
	for _, t := range o.Tables {
		if t.Table != table {
			continue
		}
		for _, user := range t.Users {
			edges = append(edges, user+" -> "+table)
			_, more := o.reaches(user)
			routes = append(routes, more...)
		}
	}
	slices.Sort(routes)
	return edges, slices.Compact(routes)
}
