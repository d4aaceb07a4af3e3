package dump

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

const (
	// MaxLine bounds a line, in bytes. JSON makes six bytes of a byte at most, so
	// sessions of ten MiB fit in any case.
	MaxLine = 64 << 20
	// MaxBatch bounds lines that are sent at a time, in bytes: any one fits.
	MaxBatch = MaxLine + 1<<20
)

// MediaType is that of lines of sessions.
const MediaType = "application/jsonl"

// Writer writes a dump. Lines of several sessions come as one, so that it may
// be given what a member has answered as it is.
type Writer struct {
	w        io.Writer
	sessions int
}

// NewWriter returns a Writer that has written the header.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	h.Format = Format
	d := &Writer{w: w}
	return d, d.line(h)
}

func (d *Writer) line(v any) error {
	b, err := encode(v)
	if err != nil {
		return fmt.Errorf("write a dump: %w", err)
	}
	return d.write(append(b, '\n'))
}

func (d *Writer) write(b []byte) error {
	if _, err := d.w.Write(b); err != nil {
		return fmt.Errorf("write a dump: %w", err)
	}
	return nil
}

// Lines writes the lines of sessions, each with its end.
func (d *Writer) Lines(lines []byte, sessions int) error {
	d.sessions += sessions
	return d.write(lines)
}

// Sessions is how many were written.
func (d *Writer) Sessions() int { return d.sessions }

// End writes the trailer. missing are the partitions of which not all sessions
// could be had.
func (d *Writer) End(missing []int) error {
	return d.line(Trailer{End: true, Sessions: d.sessions, Missing: missing})
}

// AppendLine appends the line of a session.
func AppendLine(dst []byte, s *Session) ([]byte, error) {
	b, err := s.MarshalJSON()
	if err != nil {
		return dst, err
	}
	return append(append(dst, b...), '\n'), nil
}

// ReadLine reads the line of a session, with or without its end.
func ReadLine(text []byte) (s Session, err error) {
	if !utf8.Valid(text) { // which the parser would mend, and so change what it reads
		return s, fmt.Errorf("%w: it is not UTF-8; other text is accepted in base64, as key64, name64 and value64", ErrLine)
	}
	if err := s.UnmarshalJSON(text); err != nil {
		return s, fmt.Errorf("%w: %w", ErrLine, err)
	}
	return s, nil
}

// Line is a line of a dump that has a session.
type Line struct {
	Number  int    // the first one of the file is 1
	Text    []byte // with its end
	Session Session
}

// LineError says which line cannot be read, and why.
type LineError struct {
	Number int
	Err    error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Number, e.Err) }
func (e *LineError) Unwrap() error { return e.Err }

// ErrCut is wrapped by the error of a dump that ends before its trailer.
var ErrCut = errors.New("the dump was cut short")

// Reader reads a dump.
type Reader struct {
	r       *bufio.Reader
	number  int
	header  Header
	trailer Trailer
	read    int // lines between header and trailer
	ended   bool
}

// NewReader returns a Reader that has read the header.
func NewReader(r io.Reader) (*Reader, error) {
	d := &Reader{r: bufio.NewReaderSize(r, 64<<10)}
	text, err := d.line()
	if errors.Is(err, io.EOF) {
		err = &LineError{1, fmt.Errorf("%w: there is nothing in it", ErrCut)}
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &d.header); err != nil || d.header.Format == 0 {
		return nil, &LineError{1, fmt.Errorf(`%w: it does not begin as one; {"holdfast_dump":%d,…} is accepted`, ErrLine, Format)}
	}
	if d.header.Format != Format {
		return nil, &LineError{1, fmt.Errorf("%w: format %d: %d is accepted; a later version reads it", ErrLine, d.header.Format, Format)}
	}
	return d, nil
}

// Header is the first line.
func (d *Reader) Header() Header { return d.header }

// Trailer is the last line, once Next has returned io.EOF.
func (d *Reader) Trailer() Trailer { return d.trailer }

// Next returns the next session. After a [LineError] that wraps [ErrLine] it may
// be called again, and goes on with the next line. io.EOF is the end of a dump
// that is complete.
func (d *Reader) Next() (Line, error) {
	if d.ended {
		return Line{}, io.EOF
	}
	text, err := d.line()
	if errors.Is(err, io.EOF) {
		return Line{}, &LineError{d.number + 1, fmt.Errorf("%w: the trailer is missing that says how many sessions there are; %d were read", ErrCut, d.read)}
	}
	if err != nil {
		return Line{}, err
	}
	if t, ok := trailerOf(text); ok {
		return Line{}, d.end(t)
	}
	d.read++
	l := Line{Number: d.number, Text: text}
	if l.Session, err = ReadLine(text); err != nil {
		return Line{}, &LineError{d.number, err}
	}
	return l, nil
}

func trailerOf(text []byte) (t Trailer, ok bool) {
	if !bytes.HasPrefix(text, []byte(`{"dump_end":`)) {
		return t, false
	}
	return t, decode(text, &t) == nil && t.End
}

func (d *Reader) end(t Trailer) error {
	d.ended, d.trailer = true, t
	switch _, err := d.r.Peek(1); {
	case err == nil:
		return &LineError{d.number + 1, errors.New("there is more behind the trailer: one dump is accepted")}
	case !errors.Is(err, io.EOF):
		return &LineError{d.number + 1, fmt.Errorf("read: %w", err)}
	}
	if t.Sessions != d.read {
		return &LineError{d.number, fmt.Errorf("%w: the trailer says %d sessions, %d lines were read", ErrCut, t.Sessions, d.read)}
	}
	return io.EOF
}

// line returns the next line with its end.
func (d *Reader) line() (text []byte, err error) {
	for {
		some, err := d.r.ReadSlice('\n')
		text = append(text, some...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull) && len(text) <= MaxLine:
			continue
		case len(text) > MaxLine:
			return nil, &LineError{d.number + 1, fmt.Errorf("longer than the %d bytes that are accepted", MaxLine)}
		case errors.Is(err, io.EOF) && len(text) > 0:
			return nil, &LineError{d.number + 1, fmt.Errorf("%w: half a line of %d bytes, without its end", ErrCut, len(text))}
		case errors.Is(err, io.EOF):
			return nil, io.EOF
		case err != nil:
			return nil, &LineError{d.number + 1, fmt.Errorf("read: %w", err)}
		}
		d.number++
		return text, nil
	}
}
