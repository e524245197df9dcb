"""The shortest ways to end what a grammar has begun, so that a limit cuts nothing in the middle.

The grammar's text is read into symbols that know their shortest text; a pushdown automaton follows what was
generated, and what is left on its stack is what the shortest ending has to say.
"""
