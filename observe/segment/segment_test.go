package segment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// running opens a store and runs it until stop is called.
func running(t testing.TB, cfg Config) (s *Store, stop func()) {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	return s, stop
}

var base = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC).UnixNano()

// someRecords makes records as services write them: few words often, some once.
func someRecords(r *rand.Rand, n int) []Record {
	levels := []string{"debug", "info", "warn", "error"}
	records := make([]Record, n)
	for i := range records {
		stream := NewStream(map[string]string{"service": fmt.Sprint("s", r.IntN(4)), "replica": fmt.Sprint("r", r.IntN(3))})
		level, id := levels[r.IntN(4)], fmt.Sprintf("%08x", r.Uint32())
		rec := Record{Time: base + r.Int64N(int64(3*time.Hour)), Stream: stream,
			Body:   fmt.Sprintf(`level=%s id=%s msg="request took %d ms: %s"`, level, id, r.IntN(50), []string{"Timeout", "ok", "connection refused", `a\nb`, "\xff\x00binary"}[r.IntN(5)]),
			Fields: []Field{{"level", level, true}, {"id", id, true}}}
		if r.IntN(3) == 0 {
			rec.Fields = append(rec.Fields, Field{Name: fmt.Sprint("extra", r.IntN(200)), Value: fmt.Sprint("only here ", r.IntN(9))})
		}
		if r.IntN(50) == 0 {
			rec.Time -= int64(r.IntN(40)) * day
		}
		records[i] = rec
	}
	return records
}

// someFilter makes a filter, and the function that says the same of a record without any index.
func someFilter(r *rand.Rand, sample *Record, depth int) (Filter, func(*Record) bool) {
	body := func(f func(string) bool) func(*Record) bool { return func(rec *Record) bool { return f(rec.Body) } }
	field := func(name string, f func(string) bool) func(*Record) bool {
		return func(rec *Record) bool { v, ok := rec.Field(name); return ok && f(v) }
	}
	if depth > 0 {
		f, g := someFilter(r, sample, depth-1)
		f2, g2 := someFilter(r, sample, depth-1)
		switch r.IntN(4) {
		case 0:
			return And(f, f2), func(rec *Record) bool { return g(rec) && g2(rec) }
		case 1:
			return Or(f, f2), func(rec *Record) bool { return g(rec) || g2(rec) }
		case 2:
			return Not(f), func(rec *Record) bool { return !g(rec) }
		}
	}
	names := []string{"level", "id", "service", "replica", "nothing"}
	for _, f := range sample.Fields {
		names = append(names, f.Name)
	}
	name := names[r.IntN(len(names))]
	value, _ := sample.Field(name)
	words := naiveWords(sample.Body)
	word := words[r.IntN(len(words))]
	switch r.IntN(8) {
	case 0:
		return Equals(name, value), field(name, func(v string) bool { return v == value })
	case 1:
		return Phrase(strings.ToUpper(word)), body(func(b string) bool { return slices.Contains(naiveWords(b), word) })
	case 2:
		i := r.IntN(len(sample.Body))
		part := sample.Body[i : i+r.IntN(len(sample.Body)-i)]
		return Contains(part), body(func(b string) bool { return strings.Contains(b, part) })
	case 3:
		return Phrase("Connection Refused"), body(func(b string) bool { return strings.Contains(b, "connection refused") })
	case 4:
		return Label(name, func(v string) bool { return v == value }), func(rec *Record) bool { v, _ := rec.Stream.Get(name); return v == value }
	case 5:
		return FieldPhrase(name, value), field(name, func(v string) bool { return value == "" && strings.Contains(v, value) || value != "" && v == value })
	case 6:
		half := word[:(len(word)+1)/2]
		return Prefix(half), body(func(b string) bool {
			return slices.ContainsFunc(naiveWords(b), func(w string) bool { return strings.HasPrefix(w, half) })
		})
	default:
		return Has(name), field(name, func(string) bool { return true })
	}
}

// naiveWords is what token.go promises of words, said otherwise.
func naiveWords(s string) (words []string) {
	isWord := func(c byte) bool {
		return c == '_' || c >= 0x80 || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
	}
	for i := range len(s) {
		if !isWord(s[i]) || i > 0 && isWord(s[i-1]) {
			continue
		}
		j := i
		for j < len(s) && isWord(s[j]) {
			j++
		}
		w := []byte(s[i:j])
		for k, c := range w {
			if c >= 'A' && c <= 'Z' {
				w[k] = c + 32
			}
		}
		words = append(words, string(w))
		if i > 0 && s[i-1] == '\\' && strings.ContainsRune("ntr", rune(s[i])) && len(w) > 1 {
			words = append(words, string(w[1:]))
		}
	}
	return words
}

// model is the store, naively.
type model []Record

func (m model) search(q Query, want func(*Record) bool) []Record {
	var out []Record
	for _, r := range m {
		if r.Time >= q.From && (q.To == 0 || r.Time < q.To) && r.Seq >= q.MinSeq && want(&r) {
			p := Position{r.Time, r.Seq}
			if q.After == nil || q.Ascending && p.compare(*q.After) > 0 || !q.Ascending && p.compare(*q.After) < 0 {
				out = append(out, r)
			}
		}
	}
	slices.SortFunc(out, func(a, b Record) int {
		c := cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Seq, b.Seq))
		if !q.Ascending {
			c = -c
		}
		return c
	})
	return out[:min(len(out), q.Limit)]
}

// plainForm is a record as it can be compared.
func plainForm(r Record) string {
	slices.SortFunc(r.Fields, func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
	var b strings.Builder
	fmt.Fprintf(&b, "%d %d %s %q", r.Time, r.Seq, r.Stream, r.Body)
	for _, f := range r.Fields {
		fmt.Fprintf(&b, " %q=%q", f.Name, f.Value)
	}
	return b.String()
}

func mustEqual(t *testing.T, what string, got, want []Record) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d records, want %d", what, len(got), len(want))
	}
	for i := range got {
		if g, w := plainForm(got[i]), plainForm(want[i]); g != w {
			t.Fatalf("%s: record %d is\n%s, want\n%s", what, i, g, w)
		}
	}
}

// TestStoreAgainstModel appends, seals, opens anew and searches at random, and holds every answer against a naive store.
func TestStoreAgainstModel(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			fs := vfs.NewMem()
			cfg := Config{Dir: "store", FS: fs, HeadBytes: 200 << 10}
			s, stop := running(t, cfg)
			var m model
			for range 25 {
				records := someRecords(r, 1+r.IntN(400))
				if err := s.Append(t.Context(), records, r.IntN(2) == 0); err != nil {
					t.Fatal(err)
				}
				for i := range records {
					records[i].Seq = uint64(len(m) + 1)
					m = append(m, records[i])
				}
				if r.IntN(6) == 0 {
					stop()
					s, stop = running(t, cfg)
				}
				for range 4 {
					sample := m[r.IntN(len(m))]
					f, want := someFilter(r, &sample, r.IntN(3))
					q := Query{Filter: f, Limit: 1 + r.IntN(300), Ascending: r.IntN(2) == 0}
					if r.IntN(2) == 0 {
						q.From = sample.Time - r.Int64N(int64(time.Hour))
						q.To = sample.Time + r.Int64N(int64(time.Hour))
					}
					if r.IntN(3) == 0 {
						q.After = &Position{sample.Time, sample.Seq}
					}
					if r.IntN(3) == 0 {
						q.MinSeq = sample.Seq
					}
					got, _, err := s.Search(t.Context(), q)
					if err != nil {
						t.Fatal(err)
					}
					mustEqual(t, fmt.Sprintf("%#v", q), got, m.search(q, want))
				}
			}
			if st := s.Stats(); st.Segments == 0 || st.Damaged != 0 {
				t.Errorf("stats %+v: nothing was sealed, or something is damaged", st)
			}
		})
	}
}

func all(t *testing.T, s *Store) []Record {
	t.Helper()
	got, _, err := s.Search(t.Context(), Query{Limit: 1 << 20, Ascending: true, From: -1 << 62})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got, func(a, b Record) int { return cmp.Compare(a.Seq, b.Seq) })
	return got
}

// TestCrashAtEveryPrefix cuts the log at every byte: what is whole before the cut is there, and the store goes on.
func TestCrashAtEveryPrefix(t *testing.T) {
	fs := vfs.NewMem()
	s, stop := running(t, Config{Dir: "store", FS: fs})
	r := rand.New(rand.NewPCG(1, 2))
	var sizes []int64 // of the log after each append
	var m model
	for range 8 {
		records := someRecords(r, 1+r.IntN(4))
		if err := s.Append(t.Context(), records, true); err != nil {
			t.Fatal(err)
		}
		m = append(m, records...)
		info, err := fs.Stat("store/" + walName(1))
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, info.Size())
	}
	stop()
	data := readAll(t, fs, "store/"+walName(1))
	for i := range m {
		m[i].Seq = uint64(i + 1)
	}
	var counts []int
	for cut := range len(data) + 1 {
		crashed := vfs.NewMem()
		write(t, crashed, "store/"+walName(1), data[:cut])
		s, stop := running(t, Config{Dir: "store", FS: crashed})
		got := all(t, s)
		// Those of the frames that are whole.
		whole := 0
		for _, size := range sizes {
			if int64(cut) >= size {
				whole++
			}
		}
		counts = append(counts, whole)
		mustEqual(t, fmt.Sprintf("cut at %d", cut), got, m[:len(got)])
		if cut == int(sizes[max(0, whole-1)]) && whole > 0 && (s.Stats().Damaged != 0) {
			t.Fatalf("cut at %d, where a frame ends, is called damage", cut)
		}
		if err := s.Append(t.Context(), slices.Clone(m[:1]), true); err != nil {
			t.Fatal(err)
		}
		before := len(got)
		stop()
		s, stop = running(t, Config{Dir: "store", FS: crashed})
		if n := len(all(t, s)); n != before+1 {
			t.Fatalf("cut at %d: %d records after another start, want %d", cut, n, before+1)
		}
		stop()
	}
	if counts[0] != 0 || counts[len(counts)-1] != len(sizes) {
		t.Errorf("the cuts went from %d to %d frames", counts[0], counts[len(counts)-1])
	}
}

func readAll(t *testing.T, fs vfs.FS, path string) []byte {
	t.Helper()
	f, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, info.Size())
	if _, err := f.ReadAt(data, 0); err != nil && len(data) > 0 {
		t.Fatal(err)
	}
	return data
}

func write(t *testing.T, fs vfs.FS, path string, data []byte) {
	t.Helper()
	if err := fs.MkdirAll(fs.PathDir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := fs.Create(path, diskWrites)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(slices.Clone(data)); err != nil { // a vfs.File may change what it is given
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestCrashKeepsWhatWasAcknowledged takes states of the file system that a failure of the machine may leave, at random moments of
// appending and sealing.
func TestCrashKeepsWhatWasAcknowledged(t *testing.T) {
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 7))
		fs := vfs.NewCrashableMem()
		s, stop := running(t, Config{Dir: "store", FS: fs, HeadBytes: 60 << 10})
		var m model
		var crashed []*vfs.MemFS
		var acknowledged []int
		for range 40 {
			records := someRecords(r, 1+r.IntN(60))
			if err := s.Append(t.Context(), records, true); err != nil {
				t.Fatal(err)
			}
			m = append(m, records...)
			if r.IntN(4) == 0 {
				acknowledged = append(acknowledged, len(m))
				crashed = append(crashed, fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: r}))
			}
		}
		stop()
		for i := range m {
			m[i].Seq = uint64(i + 1)
		}
		for i, fs := range crashed {
			s, stop := running(t, Config{Dir: "store", FS: fs})
			mustEqual(t, fmt.Sprintf("seed %d, crash %d", seed, i), all(t, s), m[:acknowledged[i]])
			stop()
		}
	}
}

func TestRetention(t *testing.T) {
	now := time.Unix(0, base)
	fs := vfs.NewMem()
	cfg := Config{Dir: "store", FS: fs, HeadBytes: 50 << 10, Retain: 48 * time.Hour, Now: func() time.Time { return now }}
	s, stop := running(t, cfg)
	r := rand.New(rand.NewPCG(3, 3))
	for d := range int64(6) {
		records := someRecords(r, 300)
		for i := range records {
			records[i].Time = base - (5-d)*day
		}
		if err := s.Append(t.Context(), records, true); err != nil {
			t.Fatal(err)
		}
	}
	for _, rec := range all(t, s) {
		if rec.Time < base-2*day {
			t.Fatalf("a record of %v is found", time.Unix(0, rec.Time))
		}
	}
	stop()
	_, stop = running(t, cfg)
	stop() // Run begins with retention
	s, err := Open(Config{Dir: "store", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, seg := range s.segments {
		if seg.MaxTime < base-2*day {
			t.Errorf("segment %s is still there", seg.File)
		}
	}
	if len(s.segments) == 0 {
		t.Error("nothing is left")
	}
	cfg.MaxBytes, cfg.Retain = s.segments[0].Bytes+s.segments[1].Bytes, 0
	s.Close()
	s, stop = running(t, cfg)
	stop()
	if st := s.Stats(); st.SealedBytes > cfg.MaxBytes || st.Segments == 0 {
		t.Errorf("%d bytes in %d segments are kept, with a bound of %d", st.SealedBytes, st.Segments, cfg.MaxBytes)
	}
}

// TestDamageIsFound flips a byte anywhere in a segment: nothing wrong is ever returned, and what is missing is counted.
func TestDamageIsFound(t *testing.T) {
	fs := vfs.NewMem()
	s, stop := running(t, Config{Dir: "store", FS: fs, HeadBytes: 20 << 10})
	r := rand.New(rand.NewPCG(5, 5))
	records := someRecords(r, 150)
	for i := range records {
		records[i].Time = base
	}
	if err := s.Append(t.Context(), records, true); err != nil {
		t.Fatal(err)
	}
	stop()
	s, stop = running(t, Config{Dir: "store", FS: fs, HeadBytes: 1})
	for s.Stats().Segments == 0 {
		if err := s.Append(t.Context(), records[:1], true); err != nil {
			t.Fatal(err)
		}
	}
	whole := map[string]bool{}
	for _, rec := range all(t, s) {
		whole[plainForm(rec)] = true
	}
	file := s.segments[0].path
	stop()
	data := readAll(t, fs, file)
	for range 400 {
		at := r.IntN(len(data))
		flipped := slices.Clone(data)
		flipped[at] ^= 1 << r.IntN(8)
		write(t, fs, file, flipped)
		s, err := Open(Config{Dir: "store", FS: fs, ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		got := all(t, s)
		for _, rec := range got {
			if !whole[plainForm(rec)] {
				t.Fatalf("with byte %d flipped there is a record that was never written: %s", at, plainForm(rec))
			}
		}
		found, _, err := s.Search(t.Context(), Query{Filter: Phrase("level"), Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		if (len(got) < len(whole) || len(found) < len(whole)) && s.Stats().Damaged == 0 {
			t.Fatalf("with byte %d flipped %d and %d records of %d are found, and no damage", at, len(got), len(found), len(whole))
		}
	}
}

func TestStreamsAreBounded(t *testing.T) {
	s, _ := running(t, Config{Dir: "store", FS: vfs.NewMem(), MaxStreams: 50})
	for i := range 200 {
		rec := Record{Time: base, Stream: NewStream(map[string]string{"bomb": fmt.Sprint("b", i)}), Body: "x"}
		if err := s.Append(t.Context(), []Record{rec}, false); err != nil {
			t.Fatal(err)
		}
	}
	st := s.Stats()
	if st.Streams > 51 || st.Overflowed != 150 {
		t.Errorf("%d streams, %d overflowed; want at most 51, and 150", st.Streams, st.Overflowed)
	}
	got, _, err := s.Search(t.Context(), Query{Filter: Equals("bomb", "b199"), Limit: 9})
	if err != nil || len(got) != 1 {
		t.Errorf("a label that became a field finds %d records, %v", len(got), err)
	}
}

// sorted is the names in a folder: a folder of memory lists them in no order.
func sorted(t *testing.T, fs vfs.FS, dir string) []string {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

func TestReadOnlySeesTheHead(t *testing.T) {
	fs := vfs.NewMem()
	s, stop := running(t, Config{Dir: "store", FS: fs})
	if err := s.Append(t.Context(), someRecords(rand.New(rand.NewPCG(1, 1)), 10), true); err != nil {
		t.Fatal(err)
	}
	stop()
	before := sorted(t, fs, "store")
	read, err := Open(Config{Dir: "store", FS: fs, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(all(t, read)); n != 10 {
		t.Errorf("%d records, want 10", n)
	}
	if err := read.Append(t.Context(), someRecords(rand.New(rand.NewPCG(1, 1)), 1), true); !errors.Is(err, ErrClosed) {
		t.Errorf("appending to it: %v", err)
	}
	if after := sorted(t, fs, "store"); !slices.Equal(before, after) {
		t.Errorf("files were %v and are %v", before, after)
	}
	if _, err := Open(Config{Dir: "nowhere", FS: fs, ReadOnly: true}); err == nil {
		t.Error("a store that is not there was opened for reading")
	}
}

func TestSearchSkipsBlocks(t *testing.T) {
	s, _ := running(t, Config{Dir: "store", FS: vfs.NewMem(), HeadBytes: 4 << 20})
	r := rand.New(rand.NewPCG(9, 9))
	for range 12 {
		if err := s.Append(t.Context(), someRecords(r, 8000), false); err != nil {
			t.Fatal(err)
		}
	}
	rare := Record{Time: base + 5, Stream: NewStream(map[string]string{"service": "s1"}), Body: "an xyzzyplugh in the hay"}
	if err := s.Append(t.Context(), []Record{rare}, true); err != nil {
		t.Fatal(err)
	}
	for range 6 {
		if err := s.Append(t.Context(), someRecords(r, 8000), false); err != nil {
			t.Fatal(err)
		}
	}
	got, st, err := s.Search(t.Context(), Query{Filter: Phrase("xyzzyplugh"), Limit: 10})
	if err != nil || len(got) != 1 {
		t.Fatalf("%d records, %v", len(got), err)
	}
	if st.Blocks < 8 || st.Blocks-st.Skipped > 3 {
		t.Errorf("of %d blocks only %d were skipped", st.Blocks, st.Skipped)
	}
	_, st, err = s.Search(t.Context(), Query{Filter: Label("service", func(v string) bool { return v == "none" }), Limit: 10})
	if err != nil || st.Skipped != st.Blocks {
		t.Errorf("for a service that is not there %d of %d blocks were read, %v", st.Blocks-st.Skipped, st.Blocks, err)
	}
}

func FuzzDecodeBatch(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 1))
	b, err := encodeBatch(nil, someRecords(r, 3))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(b))
	f.Fuzz(func(t *testing.T, payload string) {
		records, err := decodeBatch(payload, 1, func(key string) (*Stream, error) { return parseStream(key) })
		if err != nil {
			return
		}
		b, err := encodeBatch(nil, records)
		if err != nil {
			return // beyond the bounds that only writing holds
		}
		again, err := decodeBatch(string(b), 1, parseStream)
		if err != nil || len(again) != len(records) {
			t.Fatalf("what was read and written cannot be read: %v", err)
		}
		for i := range again {
			if plainForm(again[i]) != plainForm(records[i]) {
				t.Fatalf("record %d changed", i)
			}
		}
	})
}

func FuzzOpenBlock(f *testing.F) {
	e, err := newBlockEncoder()
	if err != nil {
		f.Fatal(err)
	}
	records := someRecords(rand.New(rand.NewPCG(2, 2)), 20)
	w := newSegmentWriter(e, 0)
	for _, part := range divide(records) {
		w.add(part)
	}
	f.Add(w.data[:w.blocks[0].length])
	streams := make([]*Stream, 100)
	for i := range streams {
		streams[i] = overflow
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := openBlock(data, streams)
		if err != nil {
			return
		}
		row := &blockRow{block: b}
		for row.i = range b.rows {
			row.Record()
			row.Field("level")
		}
	})
}
