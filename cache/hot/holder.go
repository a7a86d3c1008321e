package hot

import "time"

// Bounds of what a holder keeps.
const (
	// MaxOffer is the most keys that one node may offer.
	MaxOffer = 64
	// askEvery is how often a key may be asked for at most.
	askEvery = 25 * time.Millisecond
	// maxKeys is the most that a holder keeps, of all nodes.
	maxKeys = 1024
	// offerTerm is how long an offer counts. It is repeated more often than that.
	offerTerm = 3 * time.Second
)

// Holder has copies of keys of other nodes.
type Holder struct {
	lease time.Duration
	keys  map[string]*copied
	next  uint64
}

// copied is a key that is offered, or of which there is a copy.
type copied struct {
	owner   uint64
	offered time.Duration // until when the offer counts
	until   time.Duration // until when the copy may be read; 0: there is none
	asked   time.Duration // when the last question was sent
	id      uint64        // of the question that has no answer yet; 0: there is none
	reads   uint64        // that were answered since the last question, or could not be
}

// Question asks an owner for a copy.
type Question struct {
	Owner uint64
	ID    uint64 // never 0
	Reads uint64 // of the key, since the last question: they tell the owner that it is still hot
}

// NewHolder returns a holder whose copies may be read for lease.
func NewHolder(lease time.Duration) *Holder { return &Holder{lease: lease, keys: map[string]*copied{}} }

// Offered notes keys that their owner says are hot. An owner's keys that it no longer offers run out by themselves.
func (h *Holder) Offered(owner uint64, keys [][]byte, now time.Duration) {
	for i, key := range keys {
		if i == MaxOffer {
			return
		}
		c := h.keys[string(key)]
		if c == nil && len(h.keys) >= maxKeys {
			continue
		}
		if c == nil {
			c = &copied{}
			h.keys[string(key)] = c
		}
		if c.owner != owner {
			c.owner, c.id = owner, 0 // what the former one would answer comes too late
		}
		c.offered = now + offerTerm
	}
}

// Read reports whether the copy of a key may be read now, and what must be sent so that it may later; an ID of 0: nothing.
func (h *Holder) Read(key []byte, now time.Duration) (may bool, q Question) {
	c := h.keys[string(key)]
	if c == nil {
		return false, q
	}
	c.reads++
	may = now < c.until
	switch {
	case now >= c.offered:
	case c.id != 0 && now < c.asked+h.lease: // the answer may come
	case now < c.asked+min(h.lease/8, askEvery): // a key that is written all the time is not asked for all the time
	case may && c.until-now > h.lease/2:
	default:
		h.next++
		c.id, c.asked = h.next, now
		q = Question{c.owner, c.id, c.reads}
		c.reads = 0
	}
	return may, q
}

// Copied takes an owner's answer to a question, and reports whether the copy that came with it takes the place of what is there. yes
// is false where the owner gives none.
func (h *Holder) Copied(owner, id uint64, key []byte, yes bool, now time.Duration) bool {
	c := h.keys[string(key)]
	if c == nil || c.id != id || c.owner != owner || id == 0 {
		return false
	}
	c.id = 0
	if !yes {
		c.until, c.offered = 0, 0
		return false
	}
	if now >= c.asked+h.lease {
		return false
	}
	c.until = c.asked + h.lease
	return true
}

// Changed notes that a key has changed. An answer that was sent before and comes later does not count.
func (h *Holder) Changed(key []byte) {
	if c := h.keys[string(key)]; c != nil {
		c.until, c.id = 0, 0
	}
}

// Expire forgets keys that are neither offered nor to be read any more, and calls drop for each key whose copy is of no use.
func (h *Holder) Expire(now time.Duration, drop func(key []byte)) {
	for key, c := range h.keys {
		if now >= c.until {
			drop([]byte(key))
			if now >= c.offered {
				delete(h.keys, key)
			}
		}
	}
}

// Offers calls do for each key that is offered.
func (h *Holder) Offers(now time.Duration, do func(key string)) {
	for key, c := range h.keys {
		if now < c.offered {
			do(key)
		}
	}
}

// Copies is how many keys may be read now.
func (h *Holder) Copies(now time.Duration) (n int) {
	for _, c := range h.keys {
		if now < c.until {
			n++
		}
	}
	return n
}
