package streamlog

// cache keeps the frames that were put last, up to a bound of their bytes.
type cache struct {
	frames map[uint64][]byte
	order  []uint64
	bytes  int
	bound  int
}

func newCache(bound int) cache { return cache{frames: map[uint64][]byte{}, bound: bound} }

func (c *cache) get(seq uint64) ([]byte, bool) {
	f, ok := c.frames[seq]
	return f, ok
}

func (c *cache) put(seq uint64, frame []byte) {
	if _, ok := c.frames[seq]; ok || len(frame) > c.bound {
		return
	}
	c.frames[seq] = frame
	c.order = append(c.order, seq)
	c.bytes += len(frame)
	for c.bytes > c.bound {
		oldest := c.order[0]
		c.order = c.order[1:]
		c.bytes -= len(c.frames[oldest])
		delete(c.frames, oldest)
	}
}
