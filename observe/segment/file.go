package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A segment's file: blocks, the matrix of words, the index, a footer of footerBytes. The index is: the streams' keys; count of blocks and
// of each its length, records, first and last instant and number, first and last stream. What follows a block begins where it ends.
const (
	segmentMagic = "BYSEG001"
	footerBytes  = 8 + 8 + 4 + 4 + 4 + 4 + 8 // matrix at, index at, index length, its checksum, rows, sum of the footer, magic
	maxIndex     = 64 << 20
)

var errSegment = errors.New("damaged segment")

// blockInfo is what the index says of a block.
type blockInfo struct {
	offset, length   int64
	records          int
	minTime, maxTime int64
	minSeq, maxSeq   uint64
	first, last      int // streams
}

// segFile is a sealed segment. It does not change and holds no file open.
type segFile struct {
	segInfo
	path    string
	streams []*Stream
	blocks  []blockInfo
	matrix  int64
	rows    int
}

// segmentWriter gathers the blocks of one segment.
type segmentWriter struct {
	encoder *blockEncoder
	data    []byte
	blocks  []blockInfo
	words   [][]uint64
	streams []string
	place   map[string]int
}

// newSegmentWriter expects a file of about so many bytes.
func newSegmentWriter(e *blockEncoder, bytes int) *segmentWriter {
	return &segmentWriter{encoder: e, data: make([]byte, 0, bytes+bytes/8+64<<10), place: map[string]int{}}
}

// add writes a block of records, which are in order of stream, time and number.
func (w *segmentWriter) add(records []Record) {
	b := blockInfo{offset: int64(len(w.data)), records: len(records), minTime: records[0].Time, maxTime: records[0].Time, minSeq: records[0].Seq, maxSeq: records[0].Seq}
	for i := range records {
		r := &records[i]
		b.minTime, b.maxTime = min(b.minTime, r.Time), max(b.maxTime, r.Time)
		b.minSeq, b.maxSeq = min(b.minSeq, r.Seq), max(b.maxSeq, r.Seq)
		place, ok := w.place[r.Stream.key]
		if !ok {
			place = len(w.streams)
			w.place[r.Stream.key] = place
			w.streams = append(w.streams, r.Stream.key)
		}
		if i == 0 {
			b.first = place
		}
		b.last = place
	}
	var words []uint64
	w.data, words = w.encoder.encode(w.data, records, w.place)
	b.length = int64(len(w.data)) - b.offset
	w.blocks = append(w.blocks, b)
	w.words = append(w.words, words)
}

// finish returns the file's bytes.
func (w *segmentWriter) finish() []byte {
	most := 0
	for _, words := range w.words {
		most = max(most, len(words))
	}
	rows := bloomRows(most)
	matrix := int64(len(w.data))
	data := append(w.data, bloomMatrix(w.words, rows)...)
	index := int64(len(data))
	data = binary.AppendUvarint(data, uint64(len(w.streams)))
	for _, key := range w.streams {
		data = appendString(data, key)
	}
	data = binary.AppendUvarint(data, uint64(len(w.blocks)))
	for _, b := range w.blocks {
		for _, v := range []uint64{uint64(b.length), uint64(b.records), zigzag(b.minTime), uint64(b.maxTime - b.minTime),
			b.minSeq, b.maxSeq - b.minSeq, uint64(b.first), uint64(b.last - b.first)} {
			data = binary.AppendUvarint(data, v)
		}
	}
	footer := make([]byte, 0, footerBytes)
	footer = binary.LittleEndian.AppendUint64(footer, uint64(matrix))
	footer = binary.LittleEndian.AppendUint64(footer, uint64(index))
	footer = binary.LittleEndian.AppendUint32(footer, uint32(int64(len(data))-index))
	footer = binary.LittleEndian.AppendUint32(footer, crc32.Checksum(data[index:], castagnoli))
	footer = binary.LittleEndian.AppendUint32(footer, uint32(rows))
	footer = binary.LittleEndian.AppendUint32(footer, crc32.Checksum(footer, castagnoli))
	footer = append(footer, segmentMagic...)
	return append(data, footer...)
}

// openSegment reads a segment's index.
func openSegment(fs vfs.FS, dir string, info segInfo, intern func(string) (*Stream, error)) (*segFile, error) {
	s := &segFile{segInfo: info, path: fs.PathJoin(dir, info.File)}
	f, err := fs.Open(s.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	size := st.Size()
	footer := make([]byte, footerBytes)
	if size < footerBytes {
		return nil, errSegment
	}
	if _, err := f.ReadAt(footer, size-footerBytes); err != nil {
		return nil, err
	}
	if string(footer[32:]) != segmentMagic || crc32.Checksum(footer[:28], castagnoli) != binary.LittleEndian.Uint32(footer[28:]) {
		return nil, errSegment
	}
	s.matrix = int64(binary.LittleEndian.Uint64(footer))
	at, n := int64(binary.LittleEndian.Uint64(footer[8:])), int64(binary.LittleEndian.Uint32(footer[16:]))
	s.rows = int(binary.LittleEndian.Uint32(footer[24:]))
	if n > maxIndex || at < 0 || at+n != size-footerBytes {
		return nil, errSegment
	}
	index := make([]byte, n)
	if _, err := f.ReadAt(index, at); err != nil {
		return nil, err
	}
	if crc32.Checksum(index, castagnoli) != binary.LittleEndian.Uint32(footer[20:]) || !s.parseIndex(string(index), intern) {
		return nil, errSegment
	}
	if s.matrix+int64(s.rows)*int64(rowBytes(len(s.blocks))) != at {
		return nil, errSegment
	}
	return s, nil
}

func (s *segFile) parseIndex(index string, intern func(string) (*Stream, error)) bool {
	d := &batchReader{rest: index}
	keys := d.table()
	s.streams = make([]*Stream, len(keys))
	for i, key := range keys {
		stream, err := intern(key)
		if err != nil {
			return false
		}
		s.streams[i] = stream
	}
	s.blocks = make([]blockInfo, d.length(8))
	offset := int64(0)
	for i := range s.blocks {
		b := &s.blocks[i]
		b.offset, b.length, b.records = offset, int64(d.uint()), int(d.uint())
		b.minTime = unzigzag(d.uint())
		b.maxTime = b.minTime + int64(d.uint())
		b.minSeq = d.uint()
		b.maxSeq = b.minSeq + d.uint()
		b.first = int(d.uint())
		b.last = b.first + int(d.uint())
		offset += b.length
		if b.length < 0 || offset > s.matrix || b.first < 0 || b.last < b.first || b.last >= len(s.streams) {
			return false
		}
	}
	return !d.bad && d.rest == "" && offset == s.matrix
}

// read reads a stored block.
func (s *segFile) read(f vfs.File, i int) (*block, error) {
	data := make([]byte, s.blocks[i].length)
	if _, err := f.ReadAt(data, s.blocks[i].offset); err != nil {
		return nil, fmt.Errorf("reading %s: %w", s.path, err)
	}
	return openBlock(data, s.streams)
}
