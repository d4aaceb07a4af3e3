package node

import (
	"errors"
	"regexp"

	"github.com/seed-95a32959/holdfast/internal/fields"
)

// FieldError says that a field of a [Config] cannot work. [Start] returns one
// for each such field, joined by [errors.Join].
type FieldError struct {
	Field string // its Go name, such as "MaxSession"
	Value string // what it is, as the text shows it; "" where it shows none
	// Reason says what would work. Other fields stand in it as {GossipKeys}.
	Reason string
	Err    error // the cause, which Reason tells; nil for none
}

// fieldErrors joins a [FieldError] for each problem; nil for none.
func fieldErrors(problems []fields.Problem) error {
	var errs []error
	for _, p := range problems {
		errs = append(errs, &FieldError{Field: p.Field, Value: p.Value, Reason: p.Reason})
	}
	return errors.Join(errs...)
}

// Error calls the fields by their Go names, as in Config.MaxSession.
func (e *FieldError) Error() string {
	return e.Text(func(field string) string { return "Config." + field })
}

func (e *FieldError) Unwrap() error { return e.Err }

var otherField = regexp.MustCompile(`\{[A-Z][A-Za-z]*\}`)

// Text is the error with each field called what name makes of its Go name: a
// program has flags for them, or a file.
func (e *FieldError) Text(name func(field string) string) string {
	text := name(e.Field)
	if e.Value != "" {
		text += " " + e.Value
	}
	return text + ": " + otherField.ReplaceAllStringFunc(e.Reason, func(other string) string {
		return name(other[1 : len(other)-1])
	})
}
