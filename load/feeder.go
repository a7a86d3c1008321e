package load

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/banyanhq/banyan/topology"
)

// Bounds of a feeder's file: it comes from outside. Only the columns that requests use are kept.
const (
	maxFeederBytes = 1 << 30   // once unpacked
	maxFeederKept  = 256 << 20 // of the values
	maxFeederCells = 32 << 20
	maxFeederLine  = 4 << 20
)

// feeder hands out rows of values. But for next it is not changed once it is loaded; sessions share it.
type feeder struct {
	name    string
	id      int // place in plan.feeders, and so in values.rows
	file    string
	order   string
	columns []string // of the file, that are used, in order of first use

	rows  int64
	first int64  // of a range of numbers
	text  []byte // the values, row by row
	ends  []uint32
	raw   []bool // of JSON: a number, a boolean, an object or an array; nil for CSV
	zipf  *zipf

	part part
	next atomic.Int64 // of a sequence
}

// newFeeder returns the feeder of f, its rows not read yet.
func newFeeder(name string, f *topology.Feeder, id int) (*feeder, error) {
	out := &feeder{name: name, id: id, file: f.File, order: f.Order}
	if out.order == "" {
		out.order = "sequence"
	}
	if !slices.Contains([]string{"sequence", "random", "zipf", "once"}, out.order) {
		return nil, fmt.Errorf("order %q: want sequence, random, zipf or once", out.order)
	}
	if (f.File == "") == (f.From == nil) {
		return nil, errors.New("want exactly one of file and from")
	}
	if f.From != nil {
		if f.LastNumber() < *f.From {
			return nil, fmt.Errorf("a range from %d to %d is empty", *f.From, f.LastNumber())
		}
		out.first, out.rows = int64(*f.From), int64(f.LastNumber())-int64(*f.From)+1
	}
	return out, nil
}

// column returns the place of a column among those used.
func (f *feeder) column(name string) int {
	if i := slices.Index(f.columns, name); i >= 0 {
		return i
	}
	f.columns = append(f.columns, name)
	return len(f.columns) - 1
}

// load reads the rows.
func (f *feeder) load(from files) error {
	if f.file != "" {
		if len(f.columns) == 0 {
			return fmt.Errorf("feeder %s: no column of %s is used", f.name, f.file)
		}
		if err := f.read(from); err != nil {
			return fmt.Errorf("feeder %s: %w", f.name, err)
		}
		f.rows = int64(len(f.ends) / len(f.columns))
	}
	if f.rows == 0 {
		return fmt.Errorf("feeder %s: %s has no rows", f.name, f.file)
	}
	if f.order == "zipf" {
		f.zipf = newZipf(uint64(f.rows))
	}
	return nil
}

// draw takes a row; false where none is left.
func (f *feeder) draw(rng *rand.Rand) (int64, bool) {
	switch f.order {
	case "random":
		return rng.Int64N(f.rows), true
	case "zipf":
		return int64(f.zipf.draw(rng)), true
	}
	n := f.part.place(f.next.Add(1) - 1)
	if f.order == "once" {
		return n, n < f.rows
	}
	return n % f.rows, true
}

// value returns the text of a value, in scratch where it is a number of a range; bare says that it may stand in JSON
// without quotes.
func (f *feeder) value(row int64, column int, scratch []byte) (text []byte, bare bool) {
	if f.file == "" {
		return strconv.AppendInt(scratch, f.first+row, 10), true
	}
	i := int(row)*len(f.columns) + column
	from := uint32(0)
	if i > 0 {
		from = f.ends[i-1]
	}
	return f.text[from:f.ends[i]:f.ends[i]], f.raw != nil && f.raw[i]
}

// keep adds a value to the row at hand.
func (f *feeder) keep(text []byte) error {
	if len(f.text)+len(text) > maxFeederKept {
		return fmt.Errorf("more than %d MiB of values", maxFeederKept>>20)
	}
	if len(f.ends) == maxFeederCells {
		return fmt.Errorf("more than %d values", maxFeederCells)
	}
	f.text = append(f.text, text...)
	f.ends = append(f.ends, uint32(len(f.text)))
	return nil
}

// read reads the file: the ending of its name says its format.
func (f *feeder) read(from files) error {
	file, err := from.open(f.file)
	if err != nil {
		return err
	}
	defer file.Close()
	in, err := unpacked(file, maxFeederBytes)
	if err != nil {
		return fmt.Errorf("%s: %w", f.file, err)
	}
	read := f.readCSV
	switch filepath.Ext(strings.TrimSuffix(f.file, ".gz")) {
	case ".jsonl", ".ndjson", ".json":
		read = f.readJSON
	}
	if err := read(in); err != nil {
		return fmt.Errorf("%s%w", f.file, err)
	}
	if in.N <= 0 {
		return fmt.Errorf("%s: longer than %d MiB unpacked", f.file, maxFeederBytes>>20)
	}
	return nil
}
