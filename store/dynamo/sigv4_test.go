package dynamo

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

var signedAt = time.Date(2026, 11, 29, 18, 0, 0, 0, time.UTC)

const signedBody = `{"TableName":"things","Key":{"id":{"S":"a"}}}`

// signed is the head of a request as an AWS SDK signs it, and an API that checks it a minute later.
func signed(t testing.TB) (text string, a *API) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "POST", "http://localhost:8000/", strings.NewReader(signedBody))
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]string{"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "DynamoDB_20120810.GetItem", "Amz-Sdk-Request": "attempt=1; max=3",
		"Accept-Encoding": "identity", "Amz-Sdk-Invocation-Id": "6f1c2f3e-58a4-4f25-9c2e-2f7d5a0f6c11"} {
		r.Header.Set(name, v)
	}
	digest := sha256.Sum256([]byte(signedBody))
	who := aws.Credentials{AccessKeyID: "alice", SecretAccessKey: "wonderland"}
	if err := v4.NewSigner().SignHTTP(t.Context(), who, r, hex.EncodeToString(digest[:]), "dynamodb", "us-east-1", signedAt); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "POST / HTTP/1.1\r\nHost: localhost:8000\r\nContent-Length: %d\r\n", len(signedBody))
	if err := r.Header.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String(), New(Config{Users: map[string]string{"alice": "wonderland", "bob": "builder"}, Now: func() time.Time { return signedAt.Add(time.Minute) }})
}

// check is the refusal, or nothing.
func check(t testing.TB, a *API, text, body string) string {
	t.Helper()
	var h head
	if status, reason := h.parse([]byte(text)); status != 0 {
		t.Fatalf("%d %s: %q", status, reason, text)
	}
	h.body = []byte(body)
	if err := a.authenticate(&h); err != nil {
		return err.Error()
	}
	return ""
}

// TestSignatures: what an SDK signed is taken, however a proxy writes its white space, and nothing that differs from it by anything.
func TestSignatures(t *testing.T) {
	text, a := signed(t)
	at := strings.Index(text, "Signature=") + len("Signature=")
	signature := text[at : at+64]
	const no, broken = "InvalidSignatureException: The request signature we calculated", "IncompleteSignatureException: "
	for _, c := range []struct{ what, old, new, body, want string }{
		{"as it is", "", "", signedBody, ""},
		{"white space around and within values", "Amz-Sdk-Request: attempt=1; max=3", "amz-sdk-request:  \t attempt=1;  \t max=3 ", signedBody, ""},
		{"a header that is not signed", "Host:", "X-Other: 1\r\nHost:", signedBody, ""},
		{"another body", "", "", strings.Replace(signedBody, "a", "b", 1), no},
		{"no body", "", "", "", no},
		{"another method", "POST / ", "PUT / ", signedBody, no},
		{"another path", "POST / ", "POST /x ", signedBody, no},
		{"a query", "POST / ", "POST /?x=1 ", signedBody, no},
		{"another target", "GetItem", "PutItem", signedBody, no},
		{"another host", "Host: localhost:8000", "Host: localhost:8001", signedBody, no},
		{"white space taken out", "attempt=1; max=3", "attempt=1;max=3", signedBody, no},
		{"white space of another kind", "attempt=1; max=3", "attempt=1;\u00a0max=3", signedBody, ""}, // as strings.Fields folds
		{"a byte more", "attempt=1; max=3", "attempt=1; max=3\u00e9", signedBody, no},
		{"a signed header left out", "Accept-Encoding: identity\r\n", "", signedBody, no},
		{"fewer signed headers", "SignedHeaders=accept-encoding;", "SignedHeaders=", signedBody, no},
		{"a signed header named again and again", "SignedHeaders=accept-encoding;", "SignedHeaders=" + strings.Repeat("accept-encoding;", 4000), signedBody, no},
		{"host not signed", ";host;", ";", signedBody, "'Host' must be a 'SignedHeader'"},
		{"host signed by a longer name only", ";host;", ";hosts;", signedBody, "'Host' must be a 'SignedHeader'"},
		{"one bit of the signature", signature[:1], map[bool]string{true: "1", false: "0"}[signature[0] == '0'], signedBody, no},
		{"a signature in capitals", signature, strings.ToUpper(signature), signedBody, no},
		{"a signature cut off", signature, signature[:62], signedBody, no},
		{"no signature", signature, "", signedBody, broken},
		{"another user", "Credential=alice/", "Credential=bob/", signedBody, no},
		{"an unknown user", "Credential=alice/", "Credential=carol/", signedBody, "UnrecognizedClientException"},
		{"another region", "/us-east-1/", "/us-east-2/", signedBody, no},
		{"a region without end", "/us-east-1/", "/" + strings.Repeat("x", 4000) + "/", signedBody, "scoped to a valid region"},
		{"another service", "/dynamodb/", "/s3/", signedBody, "scoped to correct service"},
		{"another day in the scope", "/20261129/", "/20261128/", signedBody, "scoped to a valid date"},
		{"another time", "X-Amz-Date: 20261129T180000Z", "X-Amz-Date: 20261129T180001Z", signedBody, no},
		{"too long ago", "X-Amz-Date: 20261129T180000Z", "X-Amz-Date: 20261129T170000Z", signedBody, "Signature expired"},
		{"no algorithm", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1", signedBody, broken},
		{"nothing", "Authorization:", "X-Authorization:", signedBody, "MissingAuthenticationTokenException"},
	} {
		changed := text
		if c.old != "" {
			from := 0
			if c.old == signature[:1] {
				from = at
			}
			changed = text[:from] + strings.Replace(text[from:], c.old, c.new, 1)
			if changed == text {
				t.Errorf("%s: %q is not in %s", c.what, c.old, text)
			}
		}
		if got := check(t, a, changed, c.body); !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}

// TestFolded: values are folded as strings.Fields does it, by either way.
func TestFolded(t *testing.T) {
	for _, v := range []string{"", "a", " ", "  ", "a b", "a  b", " a", "a ", "a\tb", "\ta", "a\t", "a \t b", "é", "a\u00a0b", "a\u3000b", "a\xffb", "\u0085a", "a  \xa0 b", "one two three"} {
		if got, want := appendFolded([]byte("x"), v), "x"+strings.Join(strings.Fields(v), " "); !bytes.Equal(got, []byte(want)) {
			t.Errorf("%q is folded to %q, want %q", v, got, want)
		}
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	text, a := signed(b)
	raw := []byte(text)
	var h head
	b.ReportAllocs()
	for b.Loop() {
		if status, _ := h.parse(raw); status != 0 {
			b.Fatal(status)
		}
		h.body = []byte(signedBody)
		if err := a.authenticate(&h); err != nil {
			b.Fatal(err)
		}
	}
}
