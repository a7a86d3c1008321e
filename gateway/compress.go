package gateway

import (
	"bytes"
	"cmp"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/banyanhq/banyan/topology"
)

// encoder is what the three encodings have in common.
type encoder interface {
	io.WriteCloser
	Flush() error
	Reset(io.Writer)
}

// encoders keeps encoders for further use, for their tables are large. The levels are those that still keep up with the
// network: gzip 5, zstd's default, brotli 4; windows are bounded, since clients must hold them too.
var encoders = map[string]*sync.Pool{
	"gzip": {New: func() any {
		w, _ := gzip.NewWriterLevel(nil, 5) // fails for no such level only
		return encoder(w)
	}},
	"zstd": {New: func() any {
		w, _ := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(256<<10), zstd.WithLowerEncoderMem(true)) // as above
		return encoder(w)
	}},
	"br": {New: func() any { return encoder(brotli.NewWriterOptions(nil, brotli.WriterOptions{Quality: 4, LGWin: 18})) }},
}

// negotiate returns the encoding that Accept-Encoding (RFC 9110, 12.5.3) likes best, of those that are offered and among
// equals the first; empty where the client would rather have, or may only be given, the answer as it is.
func negotiate(accept, offered []string) string {
	quality := map[string]float64{}
	eachToken(accept, func(token string) {
		name, rest, hasQ := strings.Cut(token, ";")
		q := 1.0
		if hasQ {
			key, value, _ := strings.Cut(strings.TrimSpace(rest), "=")
			var err error
			if q, err = strconv.ParseFloat(value, 64); err != nil || !strings.EqualFold(key, "q") || !(q >= 0 && q <= 1) {
				q = 0
			}
		}
		name = strings.ToLower(strings.TrimSpace(name))
		if name == "x-gzip" {
			name = "gzip"
		}
		if _, twice := quality[name]; !twice && len(quality) < 32 {
			quality[name] = q
		}
	})
	best, most := "", quality["identity"]
	for _, name := range offered {
		q, named := quality[name]
		if !named {
			q = quality["*"]
		}
		if q > 0 && (q > most || best == "" && q == most) {
			best, most = name, q
		}
	}
	return best
}

// compressible reports whether answers of a media type are compressed.
func compressible(cfg *topology.Compress, contentType string) bool {
	kind, _, _ := strings.Cut(contentType, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	for _, want := range cfg.Types {
		if prefix, ok := strings.CutSuffix(want, "*"); ok && strings.HasPrefix(kind, prefix) || kind == want {
			return kind != ""
		}
	}
	return false
}

// compress makes an answer one that is compressed, where the route asks for it and the client takes it. What the cache
// fetches is kept as it is, and compressed for each client.
func (c *call) compress(res *http.Response) {
	cfg := c.target.compress
	if cfg == nil || c.grpc || c.outer != nil {
		return
	}
	name := encode(cfg, c.r, res.StatusCode, res.Header, res.ContentLength)
	if name == "" {
		return
	}
	flush := res.ContentLength < 0 // it may come bit by bit
	res.ContentLength = -1
	pool := encoders[name]
	z := &compressed{source: res.Body, pool: pool, enc: pool.Get().(encoder), flush: flush}
	z.enc.Reset(&z.out)
	res.Body = z
}

// encode decides how the answer to a request is compressed, and makes its head say so; empty: not at all. A length below 0 is
// not known. The values of h may be others' too, so they are replaced and never changed.
func encode(cfg *topology.Compress, r *http.Request, status int, h http.Header, length int64) (name string) {
	if status < 200 || !compressible(cfg, h.Get("Content-Type")) && status != http.StatusNotModified {
		return ""
	}
	if !hasToken(h["Vary"], "Accept-Encoding") && !hasToken(h["Vary"], "*") {
		h["Vary"] = append(slices.Clip(h["Vary"]), "Accept-Encoding")
	}
	switch {
	case r.Method == http.MethodHead, status == http.StatusNoContent, status == http.StatusPartialContent, status == http.StatusNotModified,
		length == 0, length > 0 && length < int64(cfg.MinSize),
		len(h["Content-Encoding"]) > 0, len(h["Content-Range"]) > 0, hasToken(h["Cache-Control"], "no-transform"):
		return ""
	}
	if name = negotiate(r.Header["Accept-Encoding"], cfg.Encodings); name == "" {
		return ""
	}
	h["Content-Encoding"] = []string{name}
	for _, key := range [...]string{"Content-Length", "Accept-Ranges", "Content-Md5", "Content-Digest", "Digest"} {
		delete(h, key) // they are about the bytes as they were
	}
	if tag := h["Etag"]; len(tag) == 1 && !strings.HasPrefix(tag[0], "W/") {
		h["Etag"] = []string{"W/" + tag[0]} // equal in meaning, not in bytes (RFC 9110, 8.8.1)
	}
	return name
}

// packer compresses an answer of the cache's as it is written. It belongs to one goroutine.
type packer struct {
	http.ResponseWriter
	r      *http.Request
	cfg    *topology.Compress
	headed bool
	pool   *sync.Pool
	enc    encoder // nil: it is passed on as it is
}

func (p *packer) WriteHeader(status int) {
	if status >= 200 && !p.headed {
		p.headed = true
		h := p.Header()
		length, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64)
		if err != nil {
			length = -1
		}
		if name := encode(p.cfg, p.r, status, h, length); name != "" {
			p.pool = encoders[name]
			p.enc = p.pool.Get().(encoder)
			p.enc.Reset(p.ResponseWriter)
		}
	}
	p.ResponseWriter.WriteHeader(status)
}

func (p *packer) Write(b []byte) (int, error) {
	if !p.headed {
		p.WriteHeader(http.StatusOK)
	}
	if p.enc == nil {
		return p.ResponseWriter.Write(b)
	}
	return p.enc.Write(b)
}

// FlushError passes on what was written, which costs a little in size. http.ResponseController calls it.
func (p *packer) FlushError() error {
	if p.enc != nil {
		if err := p.enc.Flush(); err != nil {
			return err
		}
	}
	return http.NewResponseController(p.ResponseWriter).Flush()
}

// Unwrap lets http.ResponseController find what the writer behind can do.
func (p *packer) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// end writes what is left of an answer that is whole.
func (p *packer) end() error {
	if p.enc == nil {
		return nil
	}
	if err := p.enc.Close(); err != nil {
		return err
	}
	p.enc.Reset(nil)
	p.pool.Put(p.enc)
	p.enc = nil
	return nil
}

// compressed is the body of an answer that is compressed as it is read. It belongs to one goroutine at a time but for
// Close, which ends the source only: the encoder is given back when it has come to its end.
type compressed struct {
	source io.ReadCloser
	pool   *sync.Pool
	enc    encoder
	flush  bool // what has come is passed on before more is waited for
	out    bytes.Buffer
	err    error
}

func (z *compressed) Read(p []byte) (int, error) {
	if z.out.Len() == 0 && z.err == nil {
		buf := buffers.Get().(*[holdSize]byte)
		defer buffers.Put(buf)
		for z.out.Len() == 0 && z.err == nil {
			z.fill(buf[:])
		}
	}
	if z.out.Len() > 0 {
		return z.out.Read(p)
	}
	return 0, z.err
}

func (z *compressed) fill(buf []byte) {
	z.out.Reset()
	n, err := z.source.Read(buf)
	if n > 0 {
		_, werr := z.enc.Write(buf[:n])
		if werr == nil && z.flush && err == nil {
			werr = z.enc.Flush()
		}
		err = cmp.Or(werr, err)
	}
	if err == io.EOF {
		if werr := z.enc.Close(); werr != nil {
			err = werr
		} else {
			z.enc.Reset(nil)
			z.pool.Put(z.enc)
			z.enc = nil
		}
	}
	z.err = err
}

func (z *compressed) Close() error { return z.source.Close() }
