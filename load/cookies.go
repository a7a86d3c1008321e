package load

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Bounds of one user's cookies: they come from outside.
const (
	maxCookies     = 64
	maxCookieBytes = 4096
)

type cookie struct{ name, value, path string }

// jar keeps one user's cookies for the target's one host: by name and path (RFC 6265, 5.1.4 and 5.3), deleted by an
// expiry that has passed, and otherwise kept to the end of the session. Domain and Secure need no care where there is
// one host.
type jar struct{ cookies []cookie }

func (j *jar) reset() { j.cookies = j.cookies[:0] }

// set takes one Set-Cookie value of an answer to a request for reqPath.
func (j *jar) set(line []byte, reqPath string, now time.Time) {
	if len(line) > maxCookieBytes {
		return
	}
	pair, attributes, _ := bytes.Cut(line, []byte(";"))
	name, val, ok := bytes.Cut(pair, []byte("="))
	name, val = bytes.TrimSpace(name), bytes.TrimSpace(val)
	if !ok || len(name) == 0 || bytes.ContainsAny(name, "\r\n\x00") {
		return
	}
	path, gone := cookieAttributes(string(attributes), now)
	if path == "" {
		path = defaultPath(reqPath)
	}
	for i := range j.cookies {
		c := &j.cookies[i]
		if c.name != string(name) || c.path != path {
			continue
		}
		if gone {
			j.cookies = append(j.cookies[:i], j.cookies[i+1:]...)
		} else if c.value != string(val) {
			c.value = string(val)
		}
		return
	}
	if !gone && len(j.cookies) < maxCookies {
		j.cookies = append(j.cookies, cookie{string(name), string(val), path})
	}
}

// cookieAttributes returns the path, if one is given, and whether the cookie has expired. Max-Age wins over Expires.
func cookieAttributes(attributes string, now time.Time) (path string, gone bool) {
	maxAge := false
	for attributes != "" {
		var one string
		one, attributes, _ = strings.Cut(attributes, ";")
		k, v, _ := strings.Cut(one, "=")
		v = strings.TrimSpace(v)
		switch strings.ToLower(strings.TrimSpace(k)) {
		case "path":
			if strings.HasPrefix(v, "/") {
				path = v
			}
		case "max-age":
			if n, err := strconv.ParseInt(v, 10, 64); err == nil {
				maxAge, gone = true, n <= 0
			}
		case "expires":
			if t, err := http.ParseTime(v); err == nil && !maxAge {
				gone = !t.After(now)
			}
		}
	}
	return path, gone
}

// defaultPath is the directory of the request's path (RFC 6265, 5.1.4).
func defaultPath(reqPath string) string {
	if i := strings.LastIndexByte(reqPath, '/'); i > 0 {
		return reqPath[:i]
	}
	return "/"
}

func (c *cookie) matches(path []byte) bool {
	if len(path) < len(c.path) || string(path[:len(c.path)]) != c.path {
		return false
	}
	return len(path) == len(c.path) || strings.HasSuffix(c.path, "/") || path[len(c.path)] == '/'
}

// append writes the Cookie header for a request of path, nothing if there is no cookie for it.
func (j *jar) append(dst, path []byte) []byte {
	first := true
	for i := range j.cookies {
		c := &j.cookies[i]
		if !c.matches(path) {
			continue
		}
		if first {
			dst = append(dst, "Cookie: "...)
		} else {
			dst = append(dst, "; "...)
		}
		first = false
		dst = append(dst, c.name...)
		dst = append(dst, '=')
		dst = append(dst, c.value...)
	}
	if !first {
		dst = append(dst, "\r\n"...)
	}
	return dst
}
