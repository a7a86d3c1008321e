package shard

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/banyanhq/banyan/store/attr"
	"github.com/banyanhq/banyan/store/filter"
)

// A transaction over several groups goes in two phases. PrepareCommand, in each group, checks the conditions there and leaves with
// each item a lock: the write that is to come. While it is there nothing else changes the item, nor locks it; who meets it does not
// wait but is told (Conflict). When all are prepared, DecideCommand writes down at one home, the coordinator's, that the transaction is
// carried out, which is the moment at which it is. ResolveCommand then carries the writes out, and ForgetCommand drops the decision
// once no lock is left.
//
// Whoever began a transaction may die at any point. Then whoever meets a lock asks the coordinator's home, and decides there that the
// transaction is given up if nothing is decided yet: what is decided first holds. A decision to carry out is kept until all locks are
// gone, so that none is left whose transaction could be taken for one that was given up; a decision to give up is kept for a while,
// and afterwards transactions that began before it are refused (horizon).

// Fate of a transaction.
type Fate byte

const (
	Undecided Fate = iota
	Committed
	Aborted
)

// fateAge is how long it is remembered that a transaction was given up, in milliseconds.
const fateAge = 10 * 60 * 1000

// Lock says which transaction holds an item.
type Lock struct {
	Transaction string // an id that no other has
	Coordinator Home
	Began       int64  // ms
	Key         []byte // the item's data key
	write       []byte // the write that is to come, encoded
}

func (l *Lock) append(b []byte) []byte {
	b = attr.AppendText(b, l.Transaction)
	b = binary.AppendUvarint(b, uint64(l.Coordinator))
	b = binary.AppendVarint(b, l.Began)
	return attr.AppendText(b, string(l.Key))
}

// Encode is what DecodeLock reads.
func (l *Lock) Encode() []byte { return l.append(nil) }

// DecodeLock reads the lock that an Outcome with a Conflict tells of.
func DecodeLock(b []byte) (*Lock, error) {
	r := attr.NewReader(b)
	l := readLock(r)
	if r.Err() != nil {
		return nil, fmt.Errorf("reading a lock: %w", r.Err())
	}
	return l, nil
}

func readLock(r *attr.Reader) *Lock {
	return &Lock{Transaction: r.Text(), Coordinator: Home(r.Uint()), Began: r.Int(), Key: append([]byte(nil), r.Bytes()...), write: r.Rest()}
}

func lockKey(dataKey []byte) []byte {
	return append(HomeOf(dataKey).meta(systemGroup, metaLock), dataKey...)
}

// lock returns the lock of an item, nil if it is free.
func (a *application) lock(dataKey []byte) (*Lock, error) {
	if a.end == nil {
		return nil, nil // alone, there are no transactions in two phases
	}
	locked, err := a.locked(HomeOf(dataKey))
	if err != nil || !locked.Has(dataKey) {
		return nil, err
	}
	v, err := a.get(lockKey(dataKey))
	if err != nil || v == nil {
		return nil, err
	}
	r := attr.NewReader(v)
	l := readLock(r)
	if r.Err() != nil {
		return nil, fmt.Errorf("reading the lock of %x: %w", dataKey, r.Err())
	}
	return l, nil
}

// PrepareCommand checks writes of one group and locks their items.
func PrepareCommand(transaction string, coordinator Home, began int64, writes []Write) []byte {
	b := attr.AppendText([]byte{byte(kindPrepare)}, transaction)
	b = binary.AppendUvarint(b, uint64(coordinator))
	b = binary.AppendVarint(b, began)
	return appendWrites(b, true, writes)
}

// minLocks is for how many locks of a home there is a filter at least.
const minLocks = 512

// locked is a filter of the data keys of a home's items that are locked.
func (a *application) locked(h Home) (*filter.Filter, error) {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	if f := a.m.locked[h]; f != nil && !f.Full() {
		return f, nil
	}
	prefix := h.meta(systemGroup, metaLock)
	f, err := filter.Read(a.b, prefix, after(prefix), minLocks)
	if err != nil {
		return nil, fmt.Errorf("reading the locks of home %d: %w", h, err)
	}
	a.m.locked[h] = f
	return f, nil
}

func (a *application) prepare(r *attr.Reader) (*Result, error) {
	l := Lock{Transaction: r.Text(), Coordinator: Home(r.Uint()), Began: r.Int()}
	writes, err := readWrites(r, true)
	if err != nil {
		return nil, err
	}
	all, res, err := a.evaluateAll(writes, l.Transaction)
	if err != nil || res.Code != OK {
		return res, err
	}
	for i := range all {
		l.Key = all[i].key
		w := writes[i]
		w.Condition, w.Wants = nil, 0 // it holds, and goes on to hold while the item is locked
		locked, err := a.locked(HomeOf(l.Key))
		if err != nil {
			return nil, err
		}
		locked.Add(l.Key)
		if err := a.b.Set(lockKey(l.Key), appendWrites(l.append(nil), true, []Write{w}), nil); err != nil {
			return nil, err
		}
	}
	return res, nil
}

// DecideCommand, at the coordinator's home, says what becomes of a transaction, unless that is decided already. The result's Count is
// the Fate that holds. keys are the data keys of all its items; with a token as for WriteCommand the result may also be Repeated or a
// Mismatch, and the fate is to be given up then.
func DecideCommand(transaction string, fate Fate, began, instant int64, token string, digest uint64, keys [][]byte) []byte {
	b := attr.AppendText([]byte{byte(kindDecide)}, transaction)
	b = append(b, byte(fate))
	b = binary.AppendVarint(binary.AppendVarint(b, began), instant)
	b = binary.BigEndian.AppendUint64(attr.AppendText(b, token), digest)
	return appendKeys(b, keys)
}

func appendKeys(b []byte, keys [][]byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(keys)))
	for _, k := range keys {
		b = attr.AppendText(b, string(k))
	}
	return b
}

func readKeys(r *attr.Reader) [][]byte {
	count := r.Count()
	keys := make([][]byte, 0, attr.Room(count))
	for range count {
		key := r.Bytes()
		if r.Err() != nil {
			return nil
		}
		keys = append(keys, append([]byte(nil), key...))
	}
	return keys
}

func (h Home) fateKey(transaction string) []byte {
	return append(h.meta(systemGroup, metaFate), transaction...)
}

func (a *application) decide(r *attr.Reader) (*Result, error) {
	transaction, fate := r.Text(), Fate(r.Byte())
	began, instant, token, digest := r.Int(), r.Int(), r.Text(), r.Fixed()
	rest := r.Rest() // the keys
	if r.Err() != nil {
		return nil, r.Err()
	}
	key := a.home.fateKey(transaction)
	known, err := a.get(key)
	if err != nil {
		return nil, err
	}
	if len(known) > 0 {
		return &Result{Count: int(known[0])}, nil
	}
	horizon, err := readNumber(a.b, a.home.meta(systemGroup, metaHorizon))
	if err != nil {
		return nil, err
	}
	res := &Result{Count: int(fate)}
	if fate == Committed && began <= int64(horizon) { // it may have been given up, and that been forgotten
		return &Result{Count: int(Aborted)}, nil
	}
	if fate == Committed && token != "" {
		seen, err := a.seen(token, digest, instant)
		if err != nil {
			return nil, err
		}
		if seen != nil {
			res, fate = seen, Aborted
			res.Count = int(Aborted)
		} else if err := a.remember(token, digest, instant); err != nil {
			return nil, err
		}
	}
	b := binary.AppendVarint(binary.AppendVarint([]byte{byte(fate)}, began), instant)
	return res, a.b.Set(key, append(b, rest...), nil)
}

// ResolveCommand carries the writes of a transaction to items of one group out, or drops them, and frees the items. Those that the
// transaction does not hold are left alone.
func ResolveCommand(transaction string, fate Fate, instant int64, keys [][]byte) []byte {
	b := append(attr.AppendText([]byte{byte(kindResolve)}, transaction), byte(fate))
	return appendKeys(binary.AppendVarint(b, instant), keys)
}

func (a *application) resolve(r *attr.Reader) (*Result, error) {
	transaction, fate, instant := r.Text(), Fate(r.Byte()), r.Int()
	keys := readKeys(r)
	if r.Err() != nil {
		return nil, r.Err()
	}
	for _, key := range keys {
		if !a.owns(HomeOf(key)) {
			return nil, errScattered
		}
	}
	res := &Result{}
	for _, key := range keys {
		l, err := a.lock(key)
		if err != nil {
			return nil, err
		}
		if l == nil || l.Transaction != transaction {
			continue
		}
		if fate == Committed {
			if err := a.carryOut(l, instant); err != nil {
				return nil, err
			}
		}
		if err := a.b.Delete(lockKey(key), nil); err != nil {
			return nil, err
		}
		res.Count++
	}
	return res, nil
}

// carryOut does what a lock was left for.
func (a *application) carryOut(l *Lock, instant int64) error {
	writes, err := readWrites(attr.NewReader(l.write), true)
	if err != nil || len(writes) != 1 {
		return fmt.Errorf("reading the lock of %x: %w", l.Key, errors.Join(err, attr.ErrCorrupt))
	}
	a.decided = true
	defer func() { a.decided = false }()
	p, out, err := a.evaluate(&writes[0], l.Transaction)
	if err != nil || out.Code == NoTable { // it was dropped meanwhile
		return err
	}
	if out.Code != OK {
		return fmt.Errorf("the lock of %x: what was prepared can't be carried out: %s", l.Key, out.Message)
	}
	return a.store(&p, instant, false)
}

// ForgetCommand, at the coordinator's home, drops that a transaction was carried out. None of its locks may be left.
func ForgetCommand(transaction string) []byte {
	return attr.AppendText([]byte{byte(kindForget)}, transaction)
}

func (a *application) forget(r *attr.Reader) (*Result, error) {
	key := a.home.fateKey(r.Text())
	known, err := a.get(key)
	if err != nil || len(known) == 0 || Fate(known[0]) != Committed {
		return &Result{}, err
	}
	return &Result{Count: 1}, a.b.Delete(key, nil)
}

// trimFates forgets transactions that were given up long ago.
func (a *application) trimFates(instant int64) error {
	prefix := a.home.meta(systemGroup, metaFate)
	it, err := a.b.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return err
	}
	horizonKey := a.home.meta(systemGroup, metaHorizon)
	before, err := readNumber(a.b, horizonKey)
	if err != nil {
		return errors.Join(err, it.Close())
	}
	horizon := before
	for ok := it.First(); ok; ok = it.Next() {
		f, err := decodeFate(it.Key()[len(prefix):], it.Value())
		if err == nil && f.Fate == Aborted && f.Decided < instant-fateAge {
			horizon = max(horizon, uint64(max(f.Began, 0)))
			err = a.b.Delete(it.Key(), nil)
		}
		if err != nil {
			return errors.Join(err, it.Close())
		}
	}
	if err := it.Close(); err != nil || horizon == before {
		return err
	}
	return a.b.Set(horizonKey, binary.BigEndian.AppendUint64(nil, horizon), nil)
}

// Decision is what was decided of a transaction.
type Decision struct {
	Transaction    string
	Fate           Fate
	Began, Decided int64    // ms
	Keys           [][]byte // data keys of its items
}

func decodeFate(transaction, value []byte) (*Decision, error) {
	r := attr.NewReader(value)
	d := &Decision{Transaction: string(transaction), Fate: Fate(r.Byte()), Began: r.Int(), Decided: r.Int(), Keys: readKeys(r)}
	if r.Err() != nil {
		return nil, fmt.Errorf("reading what became of transaction %x: %w", transaction, r.Err())
	}
	return d, nil
}

// FateOf reads what was decided of a transaction at its coordinator's home.
func FateOf(r pebble.Reader, coordinator Home, transaction string) (Fate, error) {
	v, closer, err := r.Get(coordinator.fateKey(transaction))
	if errors.Is(err, pebble.ErrNotFound) {
		return Undecided, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading what became of a transaction: %w", err)
	}
	defer closer.Close()
	if len(v) == 0 {
		return 0, fmt.Errorf("reading what became of a transaction: %w", attr.ErrCorrupt)
	}
	return Fate(v[0]), nil
}

// Decisions reads up to limit transactions that were decided at a home.
func Decisions(r pebble.Reader, h Home, limit int) (all []*Decision, err error) {
	prefix := h.meta(systemGroup, metaFate)
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return nil, fmt.Errorf("reading transactions: %w", err)
	}
	for ok := it.First(); ok && len(all) < limit; ok = it.Next() {
		d, err := decodeFate(append([]byte(nil), it.Key()[len(prefix):]...), it.Value())
		if err != nil {
			return nil, errors.Join(err, it.Close())
		}
		all = append(all, d)
	}
	return all, it.Close()
}

// Locks reads up to limit locks of items with data keys from lower up to upper, which lie in one home; with a nil upper that of the
// item at lower.
func Locks(r pebble.Reader, lower, upper []byte, limit int) (all []*Lock, err error) {
	if upper == nil {
		v, closer, err := r.Get(lockKey(lower))
		if errors.Is(err, pebble.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading a lock: %w", err)
		}
		l, err := DecodeLock(append([]byte(nil), v...))
		return []*Lock{l}, errors.Join(err, closer.Close())
	}
	prefix := HomeOf(lower).meta(systemGroup, metaLock)
	end := append(append([]byte(nil), prefix...), upper...)
	if HomeOf(upper) != HomeOf(lower) {
		end = after(prefix)
	}
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: append(append([]byte(nil), prefix...), lower...), UpperBound: end})
	if err != nil {
		return nil, fmt.Errorf("reading locks: %w", err)
	}
	for ok := it.First(); ok && len(all) < limit; ok = it.Next() {
		l, err := DecodeLock(append([]byte(nil), it.Value()...))
		if err != nil {
			return nil, errors.Join(err, it.Close())
		}
		all = append(all, l)
	}
	return all, it.Close()
}

// Seen says whether a token of writes that are spread was used within ten minutes of the instant, and if so, for another request.
func Seen(r pebble.Reader, token string, digest uint64, instant int64) (seen, mismatch bool, err error) {
	v, closer, err := r.Get(append(TokenHome(token).meta(systemGroup, metaToken), token...))
	if errors.Is(err, pebble.ErrNotFound) {
		return false, false, nil
	}
	if err != nil {
		return false, false, fmt.Errorf("reading a token: %w", err)
	}
	defer closer.Close()
	if len(v) != 16 {
		return false, false, fmt.Errorf("reading a token: %w", attr.ErrCorrupt)
	}
	if instant-int64(binary.BigEndian.Uint64(v)) > tokenAge {
		return false, false, nil
	}
	return true, binary.BigEndian.Uint64(v[8:]) != digest, nil
}
