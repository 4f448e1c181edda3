"""From verified files to the table, the chart and the page that compare them."""
