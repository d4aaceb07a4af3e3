package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/seed-95a32959/holdfast/session"
)

// splitObject takes a JSON object (RFC 8259) apart: one field for each member,
// in the order sent, its value the member's JSON without white space between
// the tokens. Numbers and strings keep the spelling they came in.
//
// It is stricter than encoding/json in what leaves two readers of one session
// disagreeing about it: the text must be UTF-8, and no object in it, however
// deep, may have one name twice (RFC 7493, sections 2.1 and 2.3). A field's
// name must not be empty or begin with U+0000, for those are the store's own.
// An error names the place, as a byte offset or a JSON Pointer (RFC 6901).
func splitObject(body []byte) ([]session.Field, error) {
	if at := notUTF8(body); at >= 0 {
		return nil, fmt.Errorf("byte %d is not UTF-8", at)
	}
	var compact bytes.Buffer
	compact.Grow(len(body))
	if err := json.Compact(&compact, body); err != nil {
		return nil, locateSyntax(body, err)
	}
	text := compact.String()
	if text[0] != '{' {
		return nil, fmt.Errorf("it is %s; an object is accepted", kindOf(text[0]))
	}
	s := splitter{text: text}
	if err := s.object(true); err != nil {
		return nil, err
	}
	return s.fields, nil
}

// locateSyntax adds the place to a syntax error of json.Compact, which does not
// know it; json.Unmarshal, which does, makes the same complaint.
func locateSyntax(body []byte, err error) error {
	var ignored json.RawMessage
	if syntax, ok := errors.AsType[*json.SyntaxError](json.Unmarshal(body, &ignored)); ok {
		return fmt.Errorf("byte %d: %w", syntax.Offset, syntax)
	}
	return err
}

// notUTF8 returns where b stops being UTF-8, -1 if nowhere.
func notUTF8(b []byte) int {
	if utf8.Valid(b) {
		return -1
	}
	at := 0
	for {
		r, size := utf8.DecodeRune(b[at:])
		if r == utf8.RuneError && size <= 1 {
			return at
		}
		at += size
	}
}

func kindOf(first byte) string {
	switch first {
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	default:
		return "a number"
	}
}

// splitter walks over compact JSON that is known to be valid, so that it needs
// no case for what cannot come next. Its recursion is bounded by the 10,000
// levels at which encoding/json calls a text invalid.
type splitter struct {
	text   string
	at     int
	fields []session.Field
	names  []string // of the objects that are open, the innermost's last
}

// manyNames is the number of names from which on an object's are kept in a map
// too. Most objects have fewer, and then a look along a list is cheaper.
const manyNames = 16

// misplaced is a member that may not be where it is.
type misplaced struct {
	place []string // the names and indices that lead to it, innermost first
	fault string
}

// Error writes the place as a JSON Pointer, or its beginning: a hostile body
// may nest 10,000 names of any length.
func (m *misplaced) Error() string {
	const most = 128
	var pointer strings.Builder
	for _, segment := range slices.Backward(m.place) {
		if pointer.Len()+len(segment) > most {
			pointer.WriteString("/…")
			break
		}
		pointer.WriteString("/" + pointerEscapes.Replace(segment))
	}
	return fmt.Sprintf("%q: %s", pointer.String(), m.fault)
}

var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

// under adds the name or index of an enclosing value to the place of err.
func under(segment string, err *misplaced) *misplaced {
	err.place = append(err.place, segment)
	return err
}

// value walks over any value.
func (s *splitter) value() *misplaced {
	switch s.text[s.at] {
	case '{':
		return s.object(false)
	case '[':
		return s.array()
	case '"':
		s.quoted()
	default: // a number or a word ends before the next structural character
		s.at += strings.IndexAny(s.text[s.at:], ",]}")
	}
	return nil
}

// object walks over an object. The members of the outermost are the fields.
func (s *splitter) object(outermost bool) *misplaced {
	s.at++ // {
	first := len(s.names)
	var seen map[string]bool // the names from first on, once they are many
	for s.text[s.at] != '}' {
		if s.text[s.at] == ',' {
			s.at++
		}
		name := unquote(s.quoted())
		if len(s.names)-first == manyNames {
			seen = setOf(s.names[first:])
		}
		if seen[name] || seen == nil && slices.Contains(s.names[first:], name) {
			return under(name, &misplaced{fault: "this name occurs twice in its object"})
		}
		if seen != nil {
			seen[name] = true
		}
		s.names = append(s.names, name)
		if outermost && (name == opaqueField || session.Reserved(name)) {
			return under(name, &misplaced{fault: `a field's name must not be empty or begin with \u0000`})
		}
		s.at++ // :
		start := s.at
		if err := s.value(); err != nil {
			return under(name, err)
		}
		if outermost {
			s.fields = append(s.fields, session.Field{Name: session.EscapeName(name), Value: s.text[start:s.at]})
		}
	}
	s.at++ // }
	s.names = s.names[:first]
	return nil
}

func setOf(names []string) map[string]bool {
	set := make(map[string]bool, 2*len(names))
	for _, name := range names {
		set[name] = true
	}
	return set
}

// array walks over an array.
func (s *splitter) array() *misplaced {
	s.at++ // [
	for i := 0; s.text[s.at] != ']'; i++ {
		if s.text[s.at] == ',' {
			s.at++
		}
		if err := s.value(); err != nil {
			return under(strconv.Itoa(i), err)
		}
	}
	s.at++ // ]
	return nil
}

// quoted walks over a string and returns it with its quotes.
func (s *splitter) quoted() string {
	start := s.at
	s.at++ // "
	for s.text[s.at] != '"' {
		if s.text[s.at] == '\\' {
			s.at++
		}
		s.at++
	}
	s.at++ // "
	return s.text[start:s.at]
}

// unquote returns what a valid JSON string says.
func unquote(quoted string) string {
	if !strings.Contains(quoted, `\`) {
		return quoted[1 : len(quoted)-1]
	}
	var s string
	if err := json.Unmarshal([]byte(quoted), &s); err != nil {
		panic("api: a JSON string that was valid is no longer so: " + err.Error())
	}
	return s
}

// joinObject writes fields as a JSON object, in their order. What the Redis
// protocol wrote are plain bytes where this door stores JSON: text is written
// as a string, and bytes that are not even text as {"$base64": "…"}, since JSON
// has no way to say them.
func joinObject(fields iter.Seq[session.Field]) string {
	return join(fields, '{', '}', func(b []byte, f session.Field) []byte {
		b = append(appendText(b, session.UnescapeName(f.Name)), ':')
		return appendValue(b, f.Value)
	})
}

// joinMembers writes the members of a set as a JSON array.
func joinMembers(fields iter.Seq[session.Field]) string {
	return join(fields, '[', ']', func(b []byte, f session.Field) []byte {
		return appendText(b, session.UnescapeName(f.Name))
	})
}

func join(fields iter.Seq[session.Field], begin, end byte, element func([]byte, session.Field) []byte) string {
	size := 2
	for f := range fields {
		size += len(f.Name) + len(f.Value) + len(`"":,`)
	}
	b := append(make([]byte, 0, size), begin) // a large one would be moved as often as it doubles
	for f := range fields {
		if session.Reserved(f.Name) {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = element(b, f)
	}
	return string(append(b, end))
}

func appendValue(b []byte, value string) []byte {
	raw, foreign := session.RawValue(value)
	if !foreign {
		start := len(b)
		b = append(b, value...)
		if utf8.Valid(b[start:]) && json.Valid(b[start:]) {
			return b
		}
		b, raw = b[:start], value // of a Go program, or an infinite score
	}
	if utf8.ValidString(raw) {
		return appendText(b, raw)
	}
	b = append(b, `{"$base64":"`...)
	b = base64.StdEncoding.AppendEncode(b, []byte(raw))
	return append(b, `"}`...)
}

// appendText writes s as a JSON string, with U+FFFD for what is not UTF-8. Most
// names need no escape.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, err := json.Marshal(s)
			if err != nil {
				panic(err) // a string always has a JSON form
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
