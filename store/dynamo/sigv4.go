package dynamo

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// maxSkew between the client's clock and ours.
const maxSkew = 15 * time.Minute

// maxRegion bounds the name of a region, any of which is taken: keys that were derived for it are kept by it.
const maxRegion = 64

const noSuchKey = "The security token included in the request is invalid."

// signatures checks those of requests (AWS Signature Version 4), and keeps the keys that it derived.
type signatures struct {
	mu   sync.Mutex
	keys map[string][]byte // by secret, date, region
}

// authenticate checks the signature of a request against the users. An error is the answer.
func (a *API) authenticate(h *head) error {
	if len(a.cfg.Users) == 0 {
		return nil
	}
	given := h.get("Authorization")
	if given == "" {
		return &Error{Code: "MissingAuthenticationTokenException", Message: "Request is missing Authentication Token"}
	}
	algorithm, rest, _ := strings.Cut(given, " ")
	if algorithm != "AWS4-HMAC-SHA256" {
		return &Error{Code: "IncompleteSignatureException", Message: fmt.Sprintf("Unsupported AWS 'algorithm': '%s' (only AWS4-HMAC-SHA256 for now). ", algorithm)}
	}
	var credential, signature, headers string
	for part := range strings.SplitSeq(rest, ",") {
		switch name, v, _ := strings.Cut(strings.TrimSpace(part), "="); name {
		case "Credential":
			credential = v
		case "Signature":
			signature = v
		case "SignedHeaders":
			headers = v
		}
	}
	date := h.get("X-Amz-Date")
	missing := ""
	for _, p := range [3][2]string{{"Credential", credential}, {"Signature", signature}, {"SignedHeaders", headers}} {
		if p[1] == "" {
			missing += fmt.Sprintf("Authorization header requires '%s' parameter. ", p[0])
		}
	}
	if date == "" {
		missing += "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. "
	}
	if missing != "" {
		return &Error{Code: "IncompleteSignatureException", Message: missing + "Authorization=" + given}
	}
	return a.checkSignature(h, credential, headers, signature, date)
}

func (a *API) checkSignature(h *head, credential, headers, signature, date string) error {
	scope := strings.Split(credential, "/")
	if len(scope) != 5 {
		return &Error{Code: "IncompleteSignatureException", Message: fmt.Sprintf("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '%s'", credential)}
	}
	invalid := func(format string, v ...any) error {
		return &Error{Code: "InvalidSignatureException", Message: fmt.Sprintf(format, v...)}
	}
	then, err := time.Parse("20060102T150405Z", date)
	if err != nil {
		return &Error{Code: "IncompleteSignatureException", Message: fmt.Sprintf("Date must be in ISO-8601 'basic format'. Got '%s'. See http://en.wikipedia.org/wiki/ISO_8601", date)}
	}
	now := a.cfg.Now().UTC()
	const layout = "20060102T150405Z"
	switch skew := now.Sub(then); {
	case skew > maxSkew:
		return invalid("Signature expired: %s is now earlier than %s (%s - 15 min.)", date, now.Add(-maxSkew).Format(layout), now.Format(layout))
	case skew < -maxSkew:
		return invalid("Signature not yet current: %s is still later than %s (%s + 15 min.)", date, now.Add(maxSkew).Format(layout), now.Format(layout))
	case scope[1] != date[:8]:
		return invalid("Credential should be scoped to a valid date. Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s', from '%s'.", scope[1], date[:8], date)
	case len(scope[2]) > maxRegion:
		return invalid("Credential should be scoped to a valid region. ")
	case scope[3] != "dynamodb":
		return invalid("Credential should be scoped to correct service: 'dynamodb'. ")
	case scope[4] != "aws4_request":
		return invalid("Credential should be scoped with a valid terminator: 'aws4_request', not '%s'. ", scope[4])
	}
	if !strings.Contains(";"+headers+";", ";host;") {
		return invalid("'Host' must be a 'SignedHeader' in the AWS Authorization.")
	}
	secret, known := a.cfg.Users[scope[0]]
	if !known {
		return &Error{Code: "UnrecognizedClientException", Message: noSuchKey}
	}
	const mismatch = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
	if strings.Count(headers, ";") >= h.count { // they can't all be there; and one that is named again and again would take much memory
		return invalid(mismatch)
	}
	h.scratch = h.appendCanonical(h.scratch[:0], headers)
	digest := sha256.Sum256(h.scratch)
	toSign := append(h.scratch[:0], "AWS4-HMAC-SHA256\n"...)
	toSign = append(append(toSign, date...), '\n')
	toSign = append(append(toSign, credential[len(scope[0])+1:]...), '\n')
	toSign = hex.AppendEncode(toSign, digest[:])
	var want [2 * sha256.Size]byte
	hex.Encode(want[:], sum(a.signatures.key(secret, scope[1], scope[2]), toSign))
	if !hmac.Equal(want[:], []byte(signature)) {
		return invalid(mismatch)
	}
	return nil
}

// appendCanonical appends the request as it is signed. The digest of the body is always our own, so that another body does not pass.
func (h *head) appendCanonical(out []byte, headers string) []byte {
	out = append(append(out, h.method...), '\n')
	out = append(append(out, h.path...), '\n')
	out = append(append(out, h.query...), '\n')
	for name := range strings.SplitSeq(headers, ";") {
		out = append(append(out, name...), ':')
		out = append(appendFolded(out, h.get(name)), '\n')
	}
	out = append(append(append(out, '\n'), headers...), '\n')
	digest := sha256.Sum256(h.body)
	return hex.AppendEncode(out, digest[:])
}

// appendFolded appends a field's value with one space for each run of white space within it, and none around it.
func appendFolded(out []byte, v string) []byte {
	for i := range len(v) {
		if c := v[i]; c == '\t' || c >= utf8.RuneSelf || c == ' ' && (i == 0 || i == len(v)-1 || v[i-1] == ' ') {
			return append(out, strings.Join(strings.Fields(v), " ")...)
		}
	}
	return append(out, v...)
}

// maxKeys derived are kept: one for each user and day.
const maxKeys = 1000

func (s *signatures) key(secret, date, region string) []byte {
	name := secret + "\x00" + date + "\x00" + region
	s.mu.Lock()
	defer s.mu.Unlock()
	if k, ok := s.keys[name]; ok {
		return k
	}
	k := []byte("AWS4" + secret)
	for _, part := range []string{date, region, "dynamodb", "aws4_request"} {
		k = sum(k, []byte(part))
	}
	if len(s.keys) >= maxKeys || s.keys == nil {
		s.keys = map[string][]byte{}
	}
	s.keys[name] = k
	return k
}

func sum(key, text []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(text)
	return h.Sum(nil)
}
