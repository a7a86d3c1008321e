package hot

import (
	"slices"
	"time"
)

// What makes a key hot.
const (
	// minRate is the least requests a second of a key that is worth copies.
	minRate = 100
	// minShare is the least share of a node's requests that it must get.
	minShare = 0.01
	// cooling is for how long a key that was hot is offered still.
	cooling = 5 * time.Second
)

// Owner knows which of a node's keys are hot, and who has copies of them.
type Owner struct {
	lease  time.Duration
	others int // nodes that may hold copies
	keys   map[string]*owned
	judged time.Duration
}

type owned struct {
	hot     time.Duration // when it was last found to be
	holders map[uint64]time.Duration
	reads   uint64 // by holders, since it was last judged
	changes uint64 // likewise
}

// Seen is what is known of a key's requests at its owner.
type Seen struct {
	Key       []byte
	PerSecond float64
	Share     float64 // of all requests of the node
}

// NewOwner returns an owner of keys of which so many other nodes may hold copies for lease.
func NewOwner(lease time.Duration, others int) *Owner {
	return &Owner{lease: lease, others: others, keys: map[string]*owned{}}
}

// Offer judges by what was seen lately which keys are hot, and returns them; MaxOffer at most. Reads that holders have answered
// count, for the owner sees nothing of them. A key is not offered while telling of its changes costs more frames than copies save.
func (o *Owner) Offer(seen []Seen, now time.Duration) (keys [][]byte) {
	seconds := (now - o.judged).Seconds()
	o.judged = now
	for _, s := range seen {
		if s.PerSecond >= minRate && s.Share >= minShare && o.keys[string(s.Key)] == nil && len(o.keys) < MaxOffer {
			o.keys[string(s.Key)] = &owned{hot: now, holders: map[uint64]time.Duration{}}
		}
	}
	for key, k := range o.keys {
		rate := float64(k.reads) / seconds
		for _, s := range seen {
			if string(s.Key) == key {
				rate += s.PerSecond
			}
		}
		if rate >= minRate {
			k.hot = now
		}
		costs := float64(k.changes)/seconds*float64(o.others) > rate
		k.reads, k.changes = 0, 0
		o.forget(k, now)
		switch {
		case now-k.hot >= cooling && len(k.holders) == 0:
			delete(o.keys, key)
		case now-k.hot < cooling && !costs:
			keys = append(keys, []byte(key))
		}
	}
	return keys
}

// forget drops holders whose lease has run out.
func (o *Owner) forget(k *owned, now time.Duration) {
	for node, until := range k.holders {
		if now >= until {
			delete(k.holders, node)
		}
	}
}

// Wanted notes that a node asks for a copy, and reports whether it may have one. The caller then sends the value as it is now.
func (o *Owner) Wanted(node uint64, key []byte, reads uint64, now time.Duration) bool {
	k := o.keys[string(key)]
	if k == nil {
		return false
	}
	k.reads += reads
	// The holder counts from when it asked, which is earlier. What clocks may differ by comes on top.
	k.holders[node] = now + o.lease + o.lease/8
	return true
}

// Changed notes that a key has changed, and returns the nodes that are to be told.
func (o *Owner) Changed(key []byte, now time.Duration) (tell []uint64) {
	k := o.keys[string(key)]
	if k == nil {
		return nil
	}
	k.changes++
	o.forget(k, now)
	for node := range k.holders {
		tell = append(tell, node)
	}
	clear(k.holders)
	slices.Sort(tell)
	return tell
}

// Keys calls do for each key that some node may have a copy of.
func (o *Owner) Keys(now time.Duration, do func(key []byte)) {
	for key, k := range o.keys {
		if o.forget(k, now); len(k.holders) > 0 {
			do([]byte(key))
		}
	}
}

// Holders is how many nodes may have a copy of a key.
func (o *Owner) Holders(key []byte, now time.Duration) int {
	k := o.keys[string(key)]
	if k == nil {
		return 0
	}
	o.forget(k, now)
	return len(k.holders)
}

// Len is how many keys are, or were lately, hot.
func (o *Owner) Len() int { return len(o.keys) }

// Offers calls do for each of them.
func (o *Owner) Offers(do func(key string)) {
	for key := range o.keys {
		do(key)
	}
}
