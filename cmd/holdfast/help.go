package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// detailed is a command that has more to teach than its first line.
type detailed interface{ Detail() string }

const (
	helpWidth  = 96 // columns of wrapped text
	helpIndent = 10 // columns before the text about a flag
)

// printHelp writes the help of one command, or of the program when command is
// nil. The parser's own printer would show two dashes.
func printHelp(w io.Writer, app *kong.Application, command *kong.Node) error {
	var b strings.Builder
	if command == nil {
		programHelp(&b, app)
	} else {
		commandHelp(&b, command)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func programHelp(b *strings.Builder, app *kong.Application) {
	fmt.Fprintf(b, "usage: holdfast COMMAND [flags]\n\n%s\n\n", app.Help)
	for _, c := range app.Children {
		fmt.Fprintf(b, "  %-9s %s\n", c.Name, c.Help)
	}
	b.WriteString("\nholdfast COMMAND -h shows the flags of a command; holdfast dev is the place to start.\n")
}

func commandHelp(b *strings.Builder, command *kong.Node) {
	fmt.Fprintf(b, "usage: holdfast %s [flags]", command.Name)
	for _, arg := range command.Positional {
		fmt.Fprintf(b, " [%s]", strings.ToUpper(arg.Name))
	}
	fmt.Fprintf(b, "\n\n%s\n", command.Help)
	if d, ok := command.Target.Addr().Interface().(detailed); ok {
		fmt.Fprintf(b, "\n%s\n", strings.TrimSpace(d.Detail()))
	}
	for _, arg := range command.Positional {
		fmt.Fprintf(b, "\n  %s\n", strings.ToUpper(arg.Name))
		wrap(b, arg.Help)
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

func flagHelp(b *strings.Builder, f *kong.Flag) {
	fmt.Fprintf(b, "  -%s", f.Name)
	if !f.IsBool() {
		fmt.Fprintf(b, " %s", f.FormatPlaceHolder())
	}
	if f.HasDefault {
		fmt.Fprintf(b, "  (default %s)", f.Default)
	}
	for _, env := range f.Envs {
		fmt.Fprintf(b, "  $%s", env)
	}
	b.WriteByte('\n')
	wrap(b, f.Help)
}

// wrap writes text as one paragraph, indented, in lines of helpWidth columns.
func wrap(b *strings.Builder, text string) {
	column := 0
	for word := range strings.FieldsSeq(text) {
		switch {
		case column == 0:
			b.WriteString(strings.Repeat(" ", helpIndent))
			column = helpIndent
		case column+1+len(word) > helpWidth:
			b.WriteString("\n" + strings.Repeat(" ", helpIndent))
			column = helpIndent
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	b.WriteByte('\n')
}
