package topology

import (
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Patterns of names; the schema publishes them too.
var (
	namePattern       = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`) // a DNS label, RFC 1035, 2.3.1
	envPattern        = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	variablePattern   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)
	percentilePattern = regexp.MustCompile(`^p(100|[0-9]{1,2})(\.[0-9]{1,6})?$`)
	hostPattern       = regexp.MustCompile(`^(\*|(\*\.)?[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*)$`)
)

// wantString says what a string of a format is, for messages.
func wantString(format string) string {
	switch format {
	case "name":
		return "a name of lower-case letters, digits and dashes that starts with a letter"
	case "host":
		return "a host name such as shop.example.com or *.example.com"
	case "path":
		return "a path that starts with /"
	case "address":
		return "an address such as 127.0.0.1:8080 or :8080"
	case "url":
		return "a URL such as redis://127.0.0.1:6379"
	case "file":
		return "a path in the file system"
	case "cron":
		return "five fields of crontab such as '30 8 * * mon-fri'"
	case "time":
		return "an instant such as 2026-01-31T12:00:00Z"
	}
	return "a text"
}

// checkFormat says whether a string is of a format. An empty one is as good as left out.
func checkFormat(format, text string) (Problem, bool) {
	if text == "" && format != "path" {
		return Problem{}, true
	}
	ok, message, hint := true, "", ""
	switch format {
	case "name":
		ok = namePattern.MatchString(text)
		if lower := strings.ReplaceAll(strings.ToLower(text), "_", "-"); !ok && namePattern.MatchString(lower) {
			hint = fmt.Sprintf("did you mean %q?", lower)
		}
	case "host":
		ok = len(text) <= 253 && hostPattern.MatchString(text)
	case "path":
		ok, message, hint = checkPath(text)
	case "address":
		ok = checkAddress(text)
	case "url":
		u, err := url.Parse(text)
		ok = err == nil && u.Scheme != "" && u.Host != ""
	case "cron":
		if _, err := ParseCron(text); err != nil {
			return Problem{Message: err.Error(), Expected: wantString(format)}, false
		}
	case "time":
		_, err := time.Parse(time.RFC3339, text)
		ok = err == nil
	}
	return Problem{Message: message, Expected: wantString(format), Hint: hint}, ok
}

// checkPath checks the path of a request or a route.
func checkPath(text string) (ok bool, message, hint string) {
	switch {
	case !strings.HasPrefix(text, "/"):
		if text != "" && !strings.Contains(text, "://") {
			hint = fmt.Sprintf("did you mean %q?", "/"+firstBytes(text, 60))
		}
		return false, "", hint
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return false, "has a control character", ""
	}
	return true, "", ""
}

func checkAddress(text string) bool {
	_, port, err := net.SplitHostPort(text)
	if err != nil {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n <= 65535
}

// checkKey says whether the key of a map is of a kind.
func checkKey(kind, key string) (Problem, bool) {
	switch kind {
	case "name":
		p, ok := checkFormat("name", key)
		p.Found, p.Expected = quoteFound(key), wantString("name")
		return p, ok && key != ""
	case "env":
		return Problem{Found: quoteFound(key), Expected: "a variable's name: letters, digits and underscores, no digit first"},
			envPattern.MatchString(key)
	case "variable":
		return Problem{Found: quoteFound(key), Expected: "a variable's name: letters, digits, underscores and dashes, a letter first"},
			variablePattern.MatchString(key)
	case "percentile":
		_, ok := parsePercentile(key)
		p := Problem{Found: quoteFound(key), Expected: "a percentile such as p50, p99 or p99.9"}
		if _, isNumber := parsePercentile("p" + key); !ok && isNumber {
			p.Hint = fmt.Sprintf("did you mean %q?", "p"+key)
		}
		return p, ok
	}
	return Problem{}, true
}

// parsePercentile reads p50, p99.9 and so on; the value is from 0 to 100.
func parsePercentile(text string) (float64, bool) {
	if len(text) > 16 || !percentilePattern.MatchString(text) {
		return 0, false
	}
	v, err := strconv.ParseFloat(text[1:], 64)
	return v, err == nil && v <= 100
}
