package httpserve

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// MaxBody is the largest request body in bytes; MaxReply the largest answer
// that a Client reads.
const (
	MaxBody  = 64 << 10
	MaxReply = 1 << 20
)

// Error is an answer that is not a success, as it travels between the
// services: {"error": {"code": "...", "message": "..."}}.
type Error struct {
	Status  int    `json:"-"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

// Errorf makes an Error.
func Errorf(status int, code, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// WriteJSON writes v with a status.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		WriteError(w, err)
		return
	}
	WriteRaw(w, status, body)
}

// WriteRaw writes bytes that are JSON already.
func WriteRaw(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	// A client that went away is no concern of the handler.
	_, _ = w.Write(body)
}

// WriteError writes an Error as it is. Anything else is a failure of this
// program or of one it needs: 503, and the client may try again.
func WriteError(w http.ResponseWriter, err error) {
	var e *Error
	if !errors.As(err, &e) {
		e = Errorf(http.StatusServiceUnavailable, "unavailable", "%v", err)
	}
	if e.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	WriteJSON(w, e.Status, map[string]*Error{"error": e})
}

// ReadJSON reads the body into v: one JSON value, with no field that v does
// not have. The error is an Error that says what was wrong.
func ReadJSON(r *http.Request, v any) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return Errorf(http.StatusRequestEntityTooLarge, "too_large", "the body is larger than %d bytes", tooLarge.Limit)
		}
		return Errorf(http.StatusBadRequest, "bad_body", "reading the body: %v", err)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return Errorf(http.StatusBadRequest, "bad_json", "the body: %s", plain(err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Errorf(http.StatusBadRequest, "bad_json", "the body: more than one JSON value")
	}
	return nil
}

func plain(err error) string {
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.EOF):
		return "it is empty, want JSON"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "it ends in the middle of the JSON"
	case errors.As(err, &wrongType):
		return fmt.Sprintf("field %q is a %s, want %s", wrongType.Field, wrongType.Value, wrongType.Type)
	default:
		return strings.TrimPrefix(err.Error(), "json: ")
	}
}
