package dynamo

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxSkew between the client's clock and ours.
const maxSkew = 15 * time.Minute

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
	fields := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		name, v, _ := strings.Cut(strings.TrimSpace(part), "=")
		fields[name] = v
	}
	date := h.get("X-Amz-Date")
	missing := ""
	for _, name := range []string{"Credential", "Signature", "SignedHeaders"} {
		if fields[name] == "" {
			missing += fmt.Sprintf("Authorization header requires '%s' parameter. ", name)
		}
	}
	if date == "" {
		missing += "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. "
	}
	if missing != "" {
		return &Error{Code: "IncompleteSignatureException", Message: missing + "Authorization=" + given}
	}
	return a.checkSignature(h, fields["Credential"], fields["SignedHeaders"], fields["Signature"], date)
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
	case scope[3] != "dynamodb":
		return invalid("Credential should be scoped to correct service: 'dynamodb'. ")
	case scope[4] != "aws4_request":
		return invalid("Credential should be scoped with a valid terminator: 'aws4_request', not '%s'. ", scope[4])
	}
	names := strings.Split(headers, ";")
	if !slices.Contains(names, "host") {
		return invalid("'Host' must be a 'SignedHeader' in the AWS Authorization.")
	}
	secret, known := a.cfg.Users[scope[0]]
	if !known {
		return &Error{Code: "UnrecognizedClientException", Message: noSuchKey}
	}
	canonical := h.canonical(names, headers)
	digest := sha256.Sum256([]byte(canonical))
	toSign := "AWS4-HMAC-SHA256\n" + date + "\n" + strings.Join(scope[1:], "/") + "\n" + hex.EncodeToString(digest[:])
	want := hex.EncodeToString(sum(a.signatures.key(secret, scope[1], scope[2]), toSign))
	if !hmac.Equal([]byte(want), []byte(signature)) {
		return invalid("The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	return nil
}

// canonical is the request as it is signed. The digest of the body is always our own, so that another body does not pass.
func (h *head) canonical(names []string, headers string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n%s\n", h.method, h.path, h.query)
	for _, name := range names {
		v := strings.Join(strings.Fields(h.get(name)), " ")
		b.WriteString(name + ":" + v + "\n")
	}
	digest := sha256.Sum256(h.body)
	b.WriteString("\n" + headers + "\n" + hex.EncodeToString(digest[:]))
	return b.String()
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
		k = sum(k, part)
	}
	if len(s.keys) >= maxKeys || s.keys == nil {
		s.keys = map[string][]byte{}
	}
	s.keys[name] = k
	return k
}

func sum(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
