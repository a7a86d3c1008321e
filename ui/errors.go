package ui

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// apiError is an error with the status that it is answered with.
type apiError struct {
	status int
	err    error
}

func (e apiError) Error() string { return e.err.Error() }
func (e apiError) Unwrap() error { return e.err }

// wrongf is about what was asked, missingf about what is not there, refusedf about what cannot be done now.
func wrongf(format string, a ...any) error {
	return apiError{http.StatusBadRequest, fmt.Errorf(format, a...)}
}

func missingf(format string, a ...any) error {
	return apiError{http.StatusNotFound, fmt.Errorf(format, a...)}
}

func refusedf(format string, a ...any) error {
	return apiError{http.StatusConflict, fmt.Errorf(format, a...)}
}

var errBusy = apiError{http.StatusTooManyRequests, errors.New("other predictions are being made: try again")}

// statuses of errors that have none of their own.
var statuses = []struct {
	err    error
	status int
}{{errNotLocal, http.StatusForbidden}, {errHost, http.StatusMisdirectedRequest}, {errOrigin, http.StatusForbidden}, {errToken, http.StatusUnauthorized}}

func statusOf(err error) int {
	var e apiError
	if errors.As(err, &e) {
		return e.status
	}
	for _, s := range statuses {
		if errors.Is(err, s.err) {
			return s.status
		}
	}
	return http.StatusInternalServerError
}

// Problem is the body of every answer that is not a success, here as in the operations of the command line.
type Problem struct {
	Error string `json:"error"`
}

func fail(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/json")
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="banyan"`)
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(Problem{err.Error()}) // an error is the client's going away
}

// answer writes v as JSON, or err.
func answer(w http.ResponseWriter, v any, err error) {
	if err != nil {
		fail(w, statusOf(err), err)
		return
	}
	data, err := json.Marshal(v)
	if err != nil {
		fail(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(data) // an error is the client's going away
}
