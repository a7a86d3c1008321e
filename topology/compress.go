package topology

import "slices"

// Compress has answers compressed for clients that take them so, by the first of the encodings that the client likes
// best. Answers that are compressed already, or must not be changed (Cache-Control: no-transform), are left as they are.
type Compress struct {
	// Encodings that are offered, the best first.
	Encodings []string `yaml:"encodings" schema:"default=[zstd, br, gzip],maxItems=3"`
	// Types are the media types that are compressed; 'text/*' stands for all that begin so.
	Types []string `yaml:"types" schema:"maxItems=100,default=[text/*, application/json, application/javascript, application/xml, application/problem+json, image/svg+xml]"`
	// MinSize is the least length of an answer, where it is known, that is compressed.
	MinSize Bytes `yaml:"min_size" schema:"default=1KiB"`
}

// compress checks the names of encodings.
func (c *checker) compress(s spot, v Compress) {
	for i, name := range v.Encodings {
		if !slices.Contains([]string{"zstd", "br", "gzip"}, name) || slices.Contains(v.Encodings[:i], name) {
			c.at(s.child("encodings").item(i), Problem{Found: quoteFound(name), Expected: "zstd, br or gzip, each once"})
		}
	}
}
