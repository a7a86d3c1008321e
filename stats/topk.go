package stats

import "slices"

// TopK keeps the keys that come most often among many, by Space-Saving (Metwally, Agrawal and El Abbadi, Efficient
// Computation of Frequent and Top-k Elements in Data Streams, ICDT 2005): a key that is not among those kept takes the
// place of the one with the lowest count, and its count. So a count is never too low, and too high by the lowest count at
// most; and a key that comes more often than one time in as many as there are places is always kept.
type TopK struct {
	places []Counted
	at     map[string]int // by key: where in places
	total  float64
}

// Counted is a key with how often it came, of which Over at most are not its own.
type Counted struct {
	Key         string
	Count, Over float64
}

// NewTopK keeps so many keys.
func NewTopK(places int) *TopK {
	return &TopK{places: make([]Counted, 0, places), at: make(map[string]int, places)}
}

// Add counts a key. It allocates only where the key was not kept.
func (t *TopK) Add(key []byte) {
	t.total++
	if i, ok := t.at[string(key)]; ok {
		t.places[i].Count++
		t.sink(i)
		return
	}
	if len(t.places) < cap(t.places) {
		t.places = append(t.places, Counted{Key: string(key), Count: 1})
		t.at[t.places[len(t.places)-1].Key] = len(t.places) - 1
		t.rise(len(t.places) - 1)
		return
	}
	least := &t.places[0]
	delete(t.at, least.Key)
	least.Key, least.Over = string(key), least.Count
	least.Count++
	t.at[least.Key] = 0
	t.sink(0)
}

// Halve has all that was counted so far count half.
func (t *TopK) Halve() {
	t.total /= 2
	for i := range t.places {
		t.places[i].Count /= 2
		t.places[i].Over /= 2
	}
}

// Total is how many keys were counted.
func (t *TopK) Total() float64 { return t.total }

// Top returns up to n keys, those that came most often first.
func (t *TopK) Top(n int) []Counted {
	all := slices.Clone(t.places)
	slices.SortFunc(all, func(a, b Counted) int {
		switch {
		case a.Count != b.Count && a.Count > b.Count:
			return -1
		case a.Count != b.Count:
			return 1
		case a.Key < b.Key:
			return -1
		}
		return 1
	})
	return all[:min(n, len(all))]
}

// sink moves the place i down in the heap, of which the lowest count is at the top.
func (t *TopK) sink(i int) {
	for {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < len(t.places) && t.places[child].Count < t.places[least].Count {
				least = child
			}
		}
		if least == i {
			return
		}
		t.swap(i, least)
		i = least
	}
}

func (t *TopK) rise(i int) {
	for i > 0 && t.places[i].Count < t.places[(i-1)/2].Count {
		t.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (t *TopK) swap(i, j int) {
	t.places[i], t.places[j] = t.places[j], t.places[i]
	t.at[t.places[i].Key], t.at[t.places[j].Key] = i, j
}
