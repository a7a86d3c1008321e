package load

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// at is a complaint about a place of a file. Its text begins with a colon, to follow the file's name.
func at(line, column int, format string, args ...any) error {
	place := fmt.Sprintf(":%d", line)
	if column > 0 {
		place += fmt.Sprintf(":%d", column)
	}
	return fmt.Errorf(place+": "+format, args...)
}

// readCSV reads rows of RFC 4180 under a header. Every row has as many fields as the header.
func (f *feeder) readCSV(in io.Reader) error {
	rows := csv.NewReader(in)
	rows.ReuseRecord = true
	header, err := rows.Read()
	if errors.Is(err, io.EOF) {
		return at(1, 0, "empty: want a header")
	} else if err != nil {
		return csvError(err)
	}
	header = slices.Clone(header)
	header[0] = strings.TrimPrefix(header[0], "\ufeff") // the mark that spreadsheets put before UTF-8
	for i, name := range header {
		header[i] = strings.TrimSpace(name)
		_, column := rows.FieldPos(i)
		if header[i] == "" {
			return at(1, column, "a column without a name")
		}
		if slices.Contains(header[:i], header[i]) {
			return at(1, column, "two columns %.80q", header[i])
		}
	}
	places := make([]int, len(f.columns))
	for i, name := range f.columns {
		if places[i] = slices.Index(header, name); places[i] < 0 {
			return at(1, 0, "no column %.80q: want one of %.300s", name, strings.Join(header, ", "))
		}
	}
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return csvError(err)
		}
		for _, p := range places {
			if err := f.keep([]byte(row[p])); err != nil {
				line, column := rows.FieldPos(p)
				return at(line, column, "%w", err)
			}
		}
	}
}

func csvError(err error) error {
	var parse *csv.ParseError
	if errors.As(err, &parse) {
		return at(parse.Line, parse.Column, "%w", parse.Err)
	}
	return fmt.Errorf(": %w", err)
}

// readJSON reads objects, one a line. Every one has a value in every column that is used. Empty lines are passed over.
func (f *feeder) readJSON(in io.Reader) error {
	paths := make([][]string, len(f.columns))
	for i, name := range f.columns {
		paths[i] = strings.Split(name, ".")
	}
	f.raw = []bool{}
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 64<<10), maxFeederLine)
	n := 0
	for lines.Scan() {
		n++
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		if line[0] != '{' || !json.Valid(line) {
			return at(n, 0, "%.60q: want a JSON object on one line", line)
		}
		for i, path := range paths {
			var v value
			x := extraction{path: path}
			if !x.fromBody(line, &v) {
				return at(n, 0, "no value at %.80q", f.columns[i])
			}
			if err := f.keep(v.text); err != nil {
				return at(n, 0, "%w", err)
			}
			f.raw = append(f.raw, v.raw)
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return at(n+1, 0, "a line of more than %d MiB", maxFeederLine>>20)
	} else if err != nil {
		return at(n+1, 0, "%w", err)
	}
	return nil
}
