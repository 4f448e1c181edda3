package org.kerascnn.demo.core

import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.MappedByteBuffer
import org.tensorflow.lite.DataType
import org.tensorflow.lite.Interpreter
import org.tensorflow.lite.Tensor
import org.tensorflow.lite.TensorFlowLite
import org.tensorflow.lite.gpu.CompatibilityList
import org.tensorflow.lite.gpu.GpuDelegate

/** A file in the LiteRT runtime. A GPU's is to be used by the thread that opened it. */
internal class LiteNetwork private constructor(
    private val interpreter: Interpreter,
    private val delegate: GpuDelegate?,
    private val operations: Int?,
    input: InputSpec,
) : Network {
    private val inputName: String
    private val results: Map<String, Result>
    private val given: Map<String, Any>

    /** Where the runtime writes an output. */
    private class Result(tensor: Tensor, private val type: NumberType) {
        private val shape: IntArray = tensor.shape()
        val buffer: ByteBuffer = direct(tensor.numBytes())
        private val values = FloatArray(buffer.limit() / type.bytes)
        private val output = Output(shape, values)

        /** The same every time. */
        fun output(): Output {
            buffer.fromStart()
            when (type) {
                NumberType.FLOAT32 -> buffer.asFloatBuffer().get(values)
                NumberType.INT32 -> buffer.asIntBuffer().let { ints ->
                    for (at in values.indices) values[at] = ints.get(at).toFloat()
                }
                NumberType.UINT8 -> for (at in values.indices) {
                    values[at] = (buffer.get(at).toInt() and 0xff).toFloat()
                }
            }
            return output
        }
    }

    init {
        if (SIGNATURE !in interpreter.signatureKeys) throw broken("signature $SIGNATURE")
        inputName =
            interpreter.getSignatureInputs(SIGNATURE).singleOrNull() ?: throw broken("inputs")
        val tensor = interpreter.getInputTensorFromSignature(inputName, SIGNATURE)
        val shape = intArrayOf(1, input.height, input.width, input.channels)
        val fits = tensor.shape().contentEquals(shape) && typeOf(tensor) == input.type
        if (!fits) throw broken("input: ${tensor.shape().joinToString("x")} ${tensor.dataType()}")
        interpreter.allocateTensors()
        results = interpreter.getSignatureOutputs(SIGNATURE).associateWith { name ->
            val output = interpreter.getOutputTensorFromSignature(name, SIGNATURE)
            Result(output, typeOf(output) ?: throw broken("$name: ${output.dataType()}"))
        }
        given = results.mapValues { it.value.buffer }
    }

    override val lastNanos: Long
        get() = interpreter.lastNativeInferenceDurationNanoseconds ?: 0

    override val facts: RuntimeFacts by lazy { RuntimeFacts(version(), operations, planNodes(interpreter)) }

    override fun run(input: ByteBuffer): Map<String, Output> {
        for (result in results.values) result.buffer.fromStart()
        asked { interpreter.runSignature(mapOf(inputName to input as Any), given, SIGNATURE) }
        return results.mapValues { it.value.output() }
    }

    override fun close() {
        interpreter.close()
        delegate?.close()
    }

    companion object {
        private const val SIGNATURE = "serving_default"

        /**
         * @param file the whole file; it must not change as long as the network is open.
         * @throws ModelProblem the runtime refuses it, or is not there.
         */
        fun open(
            file: ByteBuffer,
            input: InputSpec,
            threads: Int,
            accelerator: Accelerator,
        ): LiteNetwork = asked {
            val delegate = if (accelerator == Accelerator.GPU) gpu() else null
            val options = Interpreter.Options().setNumThreads(threads)
            delegate?.let { options.addDelegate(it) }
            opened(delegate) {
                val interpreter = Interpreter(reachable(file), options)
                opened(interpreter) {
                    LiteNetwork(interpreter, delegate, RuntimeFacts.operations(file), input)
                }
            }
        }

        /** What `made` makes of a resource, which is closed if it makes nothing. */
        private fun <T> opened(resource: AutoCloseable?, made: () -> T): T {
            var done = false
            try {
                return made().also { done = true }
            } finally {
                if (!done) resource?.close()
            }
        }

        private fun gpu(): GpuDelegate = CompatibilityList().use { list ->
            if (!list.isDelegateSupportedOnThisDevice) {
                throw ModelProblem(ModelProblem.Kind.RUNTIME, "GPU")
            }
            GpuDelegate(list.bestOptionsForThisDevice)
        }

        /** The runtime takes mapped files, and memory outside of the heap. */
        private fun reachable(file: ByteBuffer): ByteBuffer {
            val fits = file.isDirect && file.order() == ByteOrder.nativeOrder()
            if (file is MappedByteBuffer || fits) return file
            val copy = direct(file.limit())
            copy.put(file.duplicate().also { it.goTo(0) })
            copy.fromStart()
            return copy
        }

        private fun typeOf(tensor: Tensor): NumberType? = when (tensor.dataType()) {
            DataType.FLOAT32 -> NumberType.FLOAT32
            DataType.INT32 -> NumberType.INT32
            DataType.UINT8 -> NumberType.UINT8
            else -> null
        }

        private fun version(): String = try {
            TensorFlowLite.runtimeVersion()
        } catch (_: LinkageError) {
            ""
        } catch (_: RuntimeException) {
            ""
        }

        /** The runtime counts them for its own ends; where it no longer does, they are not known. */
        internal fun planNodes(interpreter: Interpreter): Int? = try {
            val wrapper = Class.forName("org.tensorflow.lite.InterpreterImpl").getDeclaredField("wrapper")
                .apply { isAccessible = true }.get(interpreter)
            Class.forName("org.tensorflow.lite.NativeInterpreterWrapper")
                .getDeclaredMethod("getExecutionPlanLength")
                .apply { isAccessible = true }.invoke(wrapper) as? Int
        } catch (_: ReflectiveOperationException) {
            null
        }

        private fun broken(detail: String) = ModelProblem(ModelProblem.Kind.BROKEN, detail)

        /** What the runtime throws, as a problem. */
        private fun <T> asked(work: () -> T): T = try {
            work()
        } catch (error: IllegalArgumentException) {
            throw RuntimeWords.problem(error)
        } catch (error: IllegalStateException) {
            throw RuntimeWords.problem(error)
        } catch (error: UnsupportedOperationException) {
            throw RuntimeWords.problem(error)
        } catch (error: LinkageError) { // the native part is missing
            throw RuntimeWords.problem(error)
        }
    }
}
