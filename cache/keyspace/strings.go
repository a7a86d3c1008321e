package keyspace

import "github.com/banyanhq/banyan/cache/arena"

// KeepExpiry has SetString leave the expiry as it is.
const KeepExpiry = -1

// SetString gives a key a string, whatever it was before, and an expiry in milliseconds since 1970 (0: none).
func (db *DB) SetString(key, value []byte, expiry int64) {
	expiry = db.setString(key, value, expiry)
	if db.s.noting() {
		db.noteSet(key, value, expiry)
	}
}

// setString is SetString, and returns the expiry that it comes to.
func (db *DB) setString(key, value []byte, expiry int64) int64 {
	p, hash := db.locate(key)
	db.Sample(key)
	if p == nil {
		expiry = db.expiryOf(max(expiry, 0))
		r := db.addAsIs(key, hash, String, len(value), expiry)
		copy(r.value(), value)
		return expiry
	}
	s := db.s
	r := s.rec(*p)
	flags := r.flags()
	switch {
	case expiry == KeepExpiry && flags&hasExpiry != 0:
		expiry = *r.expiry()
	case expiry == KeepExpiry:
		expiry = 0
	case expiry == 0 && s.ttl > 0:
		expiry = s.now + s.ttl
	}
	// Where the new value fits into the block of the old one, it is written over it.
	if (flags&hasExpiry != 0) == (expiry != 0) && flags&hasSpare == 0 && r.kind() == String &&
		arena.Size(r.blockLen()) == arena.Size(headOf(flags)+len(key)+len(value)) {
		r.word = wordOf(len(key), len(value), String, flags)
		if expiry != 0 {
			*r.expiry() = expiry
		}
		copy(r.value(), value)
		db.stored(hash, expiry)
		return expiry
	}
	if r.kind() != String || s.eviction == EvictVolatile {
		db.drop(p, hash)
		copy(db.addAsIs(key, hash, String, len(value), expiry).value(), value)
		return expiry
	}
	if flags&hasExpiry != 0 {
		db.volatile--
	}
	flags &^= hasExpiry | hasSpare
	if expiry != 0 {
		db.volatile++
		flags |= hasExpiry
	}
	r = s.rec(db.relayout(p, flags, len(value)))
	if expiry != 0 {
		*r.expiry() = expiry
	}
	copy(r.value(), value)
	db.stored(hash, expiry)
	return expiry
}

// Extend makes the string of a key at least n bytes long, filled up with 0, and returns its bytes, which may be written
// to; Rewrote is told of what was. A key that is not there is made; one that is no string is an error.
func (db *DB) Extend(key []byte, n int) ([]byte, error) {
	p, hash := db.locate(key)
	if p == nil {
		expiry := db.expiryOf(0)
		b := db.addAsIs(key, hash, String, n, expiry).value()
		clear(b)
		if db.s.noting() {
			db.noteSet(key, nil, expiry)
		}
		return b, nil
	}
	r := db.s.rec(*p)
	if r.kind() != String {
		return nil, ErrWrongKind
	}
	was := r.valueLen()
	if n <= was {
		return r.value(), nil
	}
	flags := r.flags()
	whole := headOf(flags) + len(key) + n
	if arena.Size(blockLen(whole, flags)) == arena.Size(r.blockLen()) {
		r.word = wordOf(len(key), n, String, flags)
	} else {
		r = db.s.rec(db.relayout(p, flags|hasSpare, n))
	}
	b := r.value()
	clear(b[was:])
	return b, nil
}
