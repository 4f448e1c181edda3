package org.kerascnn.demo.core

import java.math.BigDecimal
import java.math.MathContext
import java.nio.ByteBuffer
import java.security.MessageDigest

/**
 * What was measured of a file.
 *
 * @param latency null where it was not timed.
 * @param accuracy in percent by `metric`, null where it was not measured; then on `pictures` pictures.
 * @param device maker and model.
 * @param android its version.
 * @param file the file's name.
 * @param initMs from opening the file until it can be asked.
 * @param rounds timed of those that were to be, as in "3/3".
 * @param ended why it was not measured to the end; empty where it was.
 * @param soc the phone's processor.
 * @param thermalBefore, thermalAfter how hot Android found the phone; empty before Android 10.
 * @param selfTest null of a file without one.
 */
data class ResultRow(
    val description: ModelDescription,
    val bytes: Long,
    val sha256: String,
    val latency: LatencySummary?,
    val accuracy: Double?,
    val pictures: Int,
    val threads: Int,
    val accelerator: Accelerator,
    val device: String,
    val android: String,
    val file: String,
    val initMs: Double? = null,
    val rounds: String = "",
    val ended: String = "",
    val facts: RuntimeFacts = RuntimeFacts(),
    val soc: String = "",
    val thermalBefore: String = "",
    val thermalAfter: String = "",
    val metric: String = "accuracy",
    val selfTest: SelfTestResult? = null,
)

/** The table that `kerascnn compare --device` reads. */
object ResultsCsv {
    /** Those of export/report/device_results.py. */
    val COLUMNS: List<String> = listOf(
        "run", "model", "variant", "format", "parameters", "nonzero_parameters", "macs",
        "bytes", "download_bytes", "metric", "value", "float_value", "drop", "drop_low",
        "drop_high", "balanced_accuracy", "choice_value", "choice_float_value", "chosen_on",
        "latency_ms", "latency_p95_ms", "latency_low_ms", "latency_high_ms", "threads",
        "peak_arena_bytes", "sparsity", "seconds", "fits", "verified", "agreement",
        "max_logit_diff", "partitions", "sha256",
        "device", "android", "accelerator", "pictures", "file",
        "latency_p90_ms", "latency_p99_ms", "init_ms", "runs", "rounds", "ended",
        "accelerator_used", "nodes", "plan_nodes", "runtime", "soc",
        "thermal_before", "thermal_after", "selftest",
    )
    private const val LONGEST = 80 // letters of a name, as many as the reader takes
    private const val DIGITS = 6
    private const val FEW_DIGITS = 2

    /** A sheet takes a cell that begins so for something to work out; an apostrophe makes it text. */
    private val FORMULAS = setOf("=", "+", "-", "@")
    private val UNSEEN = setOf(CharCategory.CONTROL, CharCategory.FORMAT)

    /** As text: a line of column names, then one a row. */
    fun write(rows: List<ResultRow>): String =
        (listOf(COLUMNS) + rows.map(::cells)).joinToString("") { line ->
            line.joinToString(",", postfix = "\n", transform = ::quoted)
        }

    /** What tells a file from all others, in hex. */
    fun sha256(file: ByteBuffer): String {
        val digest = MessageDigest.getInstance("SHA-256")
        digest.update(file.duplicate().also { it.goTo(0) })
        return digest.digest().joinToString("") { "%02x".format(it) }
    }

    private fun cells(row: ResultRow): List<String> {
        val judged = row.accuracy != null && row.pictures > 0
        val values = mapOf(
            "model" to row.description.model,
            "variant" to row.description.variant,
            "format" to "tflite",
            "bytes" to row.bytes.toString(),
            "metric" to if (judged) row.metric else "",
            "value" to if (judged) number(row.accuracy) else "",
            "latency_ms" to number(row.latency?.medianMs),
            "latency_p95_ms" to number(row.latency?.p95Ms),
            "threads" to row.threads.toString(),
            "sha256" to row.sha256,
            "device" to row.device,
            "android" to row.android,
            "accelerator" to row.accelerator.name,
            "pictures" to if (judged) row.pictures.toString() else "",
            "file" to row.file,
        ) + more(row)
        return COLUMNS.map { name(values[it].orEmpty()) }
    }

    private fun more(row: ResultRow): Map<String, String> = mapOf(
        "latency_p90_ms" to number(row.latency?.p90Ms),
        "latency_p99_ms" to number(row.latency?.p99Ms),
        "init_ms" to number(row.initMs),
        "runs" to row.latency?.runs?.toString().orEmpty(),
        "rounds" to row.rounds,
        "ended" to row.ended,
        "accelerator_used" to row.facts.used(row.accelerator),
        "nodes" to row.facts.nodes?.toString().orEmpty(),
        "plan_nodes" to row.facts.planNodes?.toString().orEmpty(),
        "runtime" to row.facts.version,
        "soc" to row.soc,
        "thermal_before" to row.thermalBefore,
        "thermal_after" to row.thermalAfter,
        "selftest" to selfTest(row.selfTest),
    )

    /** As the page writes it: "verified", or "differs by 3.2%". */
    private fun selfTest(result: SelfTestResult?): String = when {
        result == null -> ""
        result.verified -> "verified"
        !result.difference.isFinite() -> "differs"
        else -> "differs by ${number(100 * result.difference, FEW_DIGITS)}%"
    }

    /** The same in every language. */
    private fun number(value: Double?, digits: Int = DIGITS): String {
        val rounded = BigDecimal(value ?: return "").round(MathContext(digits))
        return rounded.stripTrailingZeros().toPlainString()
    }

    /** In one line, without what cannot be seen. */
    private fun name(text: String): String = text
        .map { if (it.isWhitespace() || it.category in UNSEEN) ' ' else it }
        .joinToString("")
        .split(' ')
        .filter(String::isNotEmpty)
        .joinToString(" ")
        .take(LONGEST)
        .let { if (it.take(1) in FORMULAS) "'$it" else it }

    private fun quoted(cell: String): String =
        if (cell.any { it in ",\"\r\n" }) "\"${cell.replace("\"", "\"\"")}\"" else cell
}
