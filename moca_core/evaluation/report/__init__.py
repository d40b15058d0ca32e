"""The parts of the HTML report; `moca_core.evaluation.html_report` puts them together."""
