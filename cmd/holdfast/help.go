package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/alecthomas/kong"
)

// detailed is a command that has more to teach than its first line.
type detailed interface{ Detail() string }

const (
	mostHelp      = 100 // columns of wrapped text; longer lines are hard to follow
	helpIndent    = 10  // columns before the text about a flag
	commandIndent = 12  // columns before the text about a command
)

// helpText is help being written, in lines of some width.
type helpText struct {
	strings.Builder
	width int
}

// printHelp writes the help of one command, or of the program when command is
// nil. The parser's own printer would show two dashes.
func printHelp(w io.Writer, app *kong.Application, command *kong.Node) error {
	b := &helpText{width: min(columnsOf(w), mostHelp)}
	if command == nil {
		programHelp(b, app)
	} else {
		commandHelp(b, command)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func programHelp(b *helpText, app *kong.Application) {
	fmt.Fprintf(b, "usage: holdfast COMMAND [flags]\n\n")
	b.wrap("", 0, app.Help)
	b.WriteByte('\n')
	for _, c := range app.Children {
		b.wrap(fmt.Sprintf("  %-9s ", c.Name), commandIndent, c.Help)
	}
	b.WriteByte('\n')
	b.wrap("", 0, "holdfast COMMAND -h shows the flags of a command; holdfast dev is the place to start.")
}

func commandHelp(b *helpText, command *kong.Node) {
	fmt.Fprintf(b, "usage: holdfast %s [flags]", command.Name)
	for _, arg := range command.Positional {
		fmt.Fprintf(b, " [%s]", strings.ToUpper(arg.Name))
	}
	b.WriteString("\n\n")
	b.wrap("", 0, command.Help)
	if d, ok := command.Target.Addr().Interface().(detailed); ok {
		b.detail(d.Detail())
	}
	for _, arg := range command.Positional {
		fmt.Fprintf(b, "\n  %s\n", strings.ToUpper(arg.Name))
		b.about(arg.Help)
	}
	for _, group := range flagGroups(command) {
		fmt.Fprintf(b, "\n%s\n", group.title)
		for _, f := range group.flags {
			flagHelp(b, f)
		}
	}
}

type flagGroup struct {
	title string
	flags []*kong.Flag
}

// flagGroups returns the flags by their group, in the order of the grammar.
func flagGroups(command *kong.Node) []flagGroup {
	var groups []flagGroup
	for _, f := range command.Flags {
		title := "Flags"
		if f.Group != nil {
			title = f.Group.Title
		}
		i := slices.IndexFunc(groups, func(g flagGroup) bool { return g.title == title })
		if i < 0 {
			i = len(groups)
			groups = append(groups, flagGroup{title: title})
		}
		groups[i].flags = append(groups[i].flags, f)
	}
	return groups
}

func flagHelp(b *helpText, f *kong.Flag) {
	parts := []string{"-" + f.Name}
	if !f.IsBool() {
		parts[0] += " " + f.FormatPlaceHolder()
	}
	if f.HasDefault {
		parts = append(parts, "(default "+f.Default+")")
	}
	for _, env := range f.Envs {
		parts = append(parts, "$"+env)
	}
	b.fill("  ", helpIndent-4, "  ", parts)
	b.about(f.Help)
}

// about writes what there is to know of a flag or an argument, below it.
func (b *helpText) about(text string) {
	b.wrap(strings.Repeat(" ", helpIndent), helpIndent, text)
}

// detail writes paragraphs. One that is indented, such as a command to copy,
// keeps its lines.
func (b *helpText) detail(text string) {
	for paragraph := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		b.WriteByte('\n')
		if strings.HasPrefix(paragraph, " ") {
			b.WriteString(paragraph + "\n")
		} else {
			b.wrap("", 0, paragraph)
		}
	}
}

// wrap writes text as one paragraph: begin, and as many words on each line as
// it has room for, the further ones indented.
func (b *helpText) wrap(begin string, indent int, text string) {
	b.fill(begin, indent, " ", strings.Fields(text))
}

func (b *helpText) fill(begin string, indent int, gap string, parts []string) {
	b.WriteString(begin)
	column := utf8.RuneCountInString(begin)
	for i, part := range parts {
		n := utf8.RuneCountInString(part)
		switch {
		case i == 0:
		case column+len(gap)+n > b.width:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			column = indent
		default:
			b.WriteString(gap)
			column += len(gap)
		}
		b.WriteString(part)
		column += n
	}
	b.WriteByte('\n')
}
